"""The one port of `up`: the read API in this process, and what moves money passed on to the process that may.

It runs as the reader: whatever is sent to it, all that it can do by itself is read.
"""

import socket

import httpx
from pydantic import Field
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bankmirror.proxy import Proxy
from kernel.errors import Problem, WebhooksOff
from kernel.http_server import make_server
from readapi.app import create_app
from readapi.documentation import DOCS_POLICY
from readapi.edge import Edge
from readapi.settings import ReadapiSettings

# Transfers answers within a minute. To give up before it does would make outcomes unknown for nothing.
_ANSWER_SECONDS = 75.0
# Ingest writes one row before it answers a webhook; banks rarely wait longer than this.
_WEBHOOK_SECONDS = 10.0
# A process that died is started again within a second or two.
_WEBHOOK_RETRY_SECONDS = 2
# Seconds for requests under way when this process is asked to end.
_DRAIN_SECONDS = 2
_MONEY = "/banking/transfer"
_WEBHOOKS = "/webhooks/bank"
# Refusals of those who were not let in: what strangers send changes nothing, and makes nobody forget anything.
_AT_THE_DOOR = frozenset({401, 403, 421, 429})
_DOCS = "/docs/transfers"
# The read API's page, with another openapi.json beside it.
_DOCS_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Bankmirror: transfers</title>
<link rel="stylesheet" href="../static/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="../static/swagger-ui-bundle.js"></script>
<script src="../static/docs.js"></script>
</html>
"""


class FrontSettings(ReadapiSettings):
    """The process behind the one port that `up` serves on: the read API's, and where transfers is."""

    front_host: str = Field("127.0.0.1", description="The address that the front listens on.")
    front_port: int = Field(8000, ge=0, le=65535, description="The port that the front listens on; 0: any.")
    front_listener: int | None = Field(
        None,
        ge=3,
        description="A file descriptor that listens, to serve on instead; `up` keeps it over restarts.",
    )
    front_webhooks_url: str | None = Field(
        None, description="Where ingest takes the bank's webhooks: they are passed on to it. Without it there are none."
    )
    front_transfers_url: str = Field(
        "http://127.0.0.1:8001", description="Where transfers listens: what moves money is passed on to it."
    )


class Front:
    """ASGI application: some paths go to transfers, all others to the read API, and its lifespan too."""

    def __init__(self, reader: Edge, transfers: ASGIApp, docs: ASGIApp, webhooks: ASGIApp | None = None) -> None:
        self._reader, self._transfers, self._docs, self._webhooks = reader, transfers, docs, webhooks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith(_MONEY):
            await self._transfers(scope, receive, self._forgetting(scope, send))
        elif path == f"{_DOCS}/openapi.json":
            await self._transfers({**scope, "raw_path": b"/openapi.json"}, receive, send)
        elif path in (_DOCS, f"{_DOCS}/"):
            await self._docs(scope, receive, send)
        elif path == _WEBHOOKS and self._webhooks is not None:
            # The bank has no token of ours: what it sends is signed.
            await self._webhooks(scope, receive, send)
        else:
            await self._reader(scope, receive, send)

    def _forgetting(self, scope: Scope, send: Send) -> Send:
        """Forget what was answered before a transfer is: whoever sent it sees it in the next answer of this process,
        before the database has told of it.
        """
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return send

        async def forget_and_send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] not in _AT_THE_DOOR:
                self._reader.forget()
            await send(message)

        return forget_and_send


def make_front(settings: FrontSettings, transfers: Proxy, webhooks: Proxy | None = None) -> Front:
    """The application with its parts."""
    return Front(create_app(settings), transfers, _docs, webhooks)


def _webhooks_unavailable(request: httpx.Request, error: httpx.TransportError) -> Problem:
    return WebhooksOff("ingest does not answer; the bank is polled anyway", retry_after_seconds=_WEBHOOK_RETRY_SECONDS)


async def _docs(scope: Scope, receive: Receive, send: Send) -> None:
    """The transfers' description, to look at and to try."""
    page = HTMLResponse(_DOCS_PAGE, headers={"Content-Security-Policy": DOCS_POLICY})
    # Its links are relative to the slash.
    response = page if scope["path"].endswith("/") else RedirectResponse(f"{_DOCS}/")
    await response(scope, receive, send)


async def serve(settings: FrontSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartupError when that would not be safe."""
    settings.require_safe_exposure(settings.front_host)
    transfers = Proxy(settings.front_transfers_url, answer_seconds=_ANSWER_SECONDS)
    webhooks = None
    if settings.front_webhooks_url is not None:
        webhooks = Proxy(
            settings.front_webhooks_url, answer_seconds=_WEBHOOK_SECONDS, unavailable=_webhooks_unavailable
        )
    app = make_front(settings, transfers, webhooks)
    server = make_server(app, host=settings.front_host, port=settings.front_port, drain_seconds=_DRAIN_SECONDS)
    listener = settings.front_listener
    try:
        await server.serve(None if listener is None else [socket.socket(fileno=listener)])
    finally:
        await transfers.close()
        if webhooks is not None:
            await webhooks.close()
