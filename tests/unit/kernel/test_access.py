"""What answers without the token, and that nothing else does, however its path is written."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from kernel.access import RequireToken, is_open

OPEN = [
    "/",
    "/health",
    "/ready",
    "/openapi.json",
    "/docs",
    "/docs/static/docs.js",
    "/docs/static/swagger-ui.css",
    "/docs/static/swagger-ui-bundle.js",
    "/docs/transfers",
    "/docs/transfers/",
    "/docs/transfers/openapi.json",
    "/problems",
    "/problems/not-found",
]
CLOSED = [
    "",
    "//",
    "/banking/accounts",
    "//banking/accounts",
    "/banking/transfer",
    "/banking/transfers/1",
    "/metrics",
    "/docs/../banking/accounts",
    "/docs/static/../../banking/accounts",
    "/docs/static/..",
    "/docs/static/",
    "/docs/static/a/b",
    "/docs/static/.hidden",
    "/docs/static/docs.js\n",
    "/docs/transfers/../../banking/transfer",
    "/docs/transfers/banking/transfer",
    "/problems/../banking/balances",
    "/problems/..",
    "/problems/a/b",
    "/problems/a\x00",
    "/problemsx",
    "/docsx",
    "/health/",
    "/HEALTH",
    "/openapi.json/../banking/accounts",
    "/x/health",
    "docs",
]


async def _status(path: str) -> int:
    """What the door answers to a path as the server hands it over: decoded, and not cleaned."""
    sent: list[Message] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    await RequireToken(behind, "s" * 40)(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", OPEN)
async def test_documentation_and_health_answer_anybody(path: str) -> None:
    """They say nothing about money."""
    assert await _status(path) == 200


@pytest.mark.parametrize("path", CLOSED)
async def test_everything_else_asks_for_the_token(path: str) -> None:
    """A path is taken letter by letter: none leads out of what is open."""
    assert await _status(path) == 401
    assert not is_open(path)
