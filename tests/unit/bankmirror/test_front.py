"""The one port: what was answered is forgotten before a transfer is, so that its sender sees it in the next answer."""

from typing import Any, cast

import httpx
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bankmirror.front import Front
from readapi.edge import Edge


class Reader:
    """A read API that counts how often it was told to forget, and what had been answered by then."""

    def __init__(self) -> None:
        self.forgot = 0

    def forget(self) -> None:
        self.forgot += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Response()(scope, receive, send)


@pytest.mark.parametrize(
    ("method", "status", "forgot"),
    [
        ("POST", 200, 1),
        ("POST", 202, 1),
        # Nobody knows what came of it.
        ("POST", 503, 1),
        ("DELETE", 200, 1),
        ("POST", 401, 0),
        ("POST", 429, 0),
        ("GET", 200, 0),
    ],
)
async def test_what_was_answered_is_forgotten_before_a_transfer_is_answered(
    method: str, status: int, forgot: int
) -> None:
    """But not for a question about one, and not for who was not let in."""
    reader = Reader()
    seen: list[int] = []

    async def transfers(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Any) -> None:
            seen.append(reader.forgot)
            await send(message)
            seen.append(reader.forgot)

        await Response(status_code=status)(scope, receive, send_on)

    front = Front(cast(Edge, reader), transfers, transfers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://front") as client:
        answer = await client.request(method, "/banking/transfer")
        await client.get("/banking/accounts")

    assert answer.status_code == status
    # Before the first of the two messages went on, and once.
    assert seen == [0, forgot, forgot, forgot]
