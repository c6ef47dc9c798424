"""An answer that lies ready in memory, served by nothing but ASGI (`bare`) or by a FastAPI route (`fastapi`).

It reads the answer, headers and body, from a running server once, and gives the same ones to whoever asks.

    python -m benchmarks.peers.kept_bytes bare|fastapi <URL of the answer> <port>
"""

import sys

import httpx
from fastapi import FastAPI, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.peers.serving import serve

# The server writes these itself.
OF_THE_SERVER = frozenset({"date", "server", "connection", "transfer-encoding"})


def bare(headers: list[tuple[bytes, bytes]], body: bytes) -> ASGIApp:
    """The least that an ASGI application can do."""
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    end = {"type": "http.response.body", "body": body}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send(start)
        await send(end)

    return app


def fastapi(headers: list[tuple[bytes, bytes]], body: bytes) -> ASGIApp:
    """A route that returns the bytes as they are."""
    app = FastAPI()
    named = {name.decode(): value.decode() for name, value in headers if name != b"content-length"}

    @app.get("/banking/accounts/{account_id}/activity", response_model=None)
    async def list_activity(account_id: str, limit: int = 20) -> Response:
        return Response(body, headers=named)

    return app


def main(kind: str, url: str, port: str) -> None:
    """Read the answer, and serve it."""
    answer = httpx.get(url, headers={"Accept-Encoding": "identity"}, timeout=30).raise_for_status()
    headers = [(name.lower(), value) for name, value in answer.headers.raw]
    kept = [(name, value) for name, value in headers if name.decode() not in OF_THE_SERVER]
    serve({"bare": bare, "fastapi": fastapi}[kind](kept, answer.content), int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
