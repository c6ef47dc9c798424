"""Every peer stands on the server that we stand on, so that the server is not what differs."""

import uvloop
from starlette.types import ASGIApp

from kernel.http_server import make_server


def serve(app: ASGIApp, port: int) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    server = make_server(app, host="127.0.0.1", port=port, drain_seconds=0)
    uvloop.run(server.serve())
