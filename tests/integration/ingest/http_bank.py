"""A ModelBank behind a real HTTP server, with a fault for any request; for what only shows on the wire."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from banks.ports import CursorExpired, Window
from tests.integration.ingest.model_bank import ModelBank

Answer = tuple[int, dict[str, str], bytes]
JSON = {"content-type": "application/json"}


class HttpBank:
    """Answers in the generic contract. `fault` may return another answer for a path and its n-th request."""

    def __init__(self, bank: ModelBank) -> None:
        self.bank = bank
        self.url = ""
        self.requests: dict[str, int] = {}
        self.fault: Callable[[str, int], Awaitable[Answer | None]] = _no_fault

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """The ASGI application."""
        path = scope["path"]
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        self.requests[path] = self.requests.get(path, 0) + 1
        answer = await self.fault(path, self.requests[path]) or self._answer(path, query)
        status, headers, body = answer
        listed = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": listed})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str, query: dict[str, str]) -> Answer:
        cursor = query.get("cursor")
        match path:
            case "/accounts":
                return _ok(self.bank.page_document(list(self.bank.accounts.values()), cursor))
            case "/balances":
                return _ok(self.bank.page_document(list(self.bank.balances.values()), cursor))
            case "/transactions/changes":
                try:
                    return _ok(self.bank.changes_document(cursor))
                except CursorExpired:
                    return problem(410, "cursor-expired")
            case "/transactions":
                window = Window(date.fromisoformat(query["from"]), date.fromisoformat(query["to"]))
                return _ok(self.bank.listing_document(query["account_id"], window, cursor))
            case _:
                return problem(404, "not-found")


def problem(status: int, slug: str, **headers: str) -> Answer:
    """A problem document."""
    body = json.dumps({"type": f"/problems/{slug}", "title": slug, "status": status}).encode()
    return status, {"content-type": "application/problem+json", **headers}, body


def _ok(document: dict[str, Any]) -> Answer:
    return 200, JSON, json.dumps(document).encode()


async def _no_fault(path: str, number: int) -> None:
    return None


@asynccontextmanager
async def serve_bank(bank: ModelBank) -> AsyncIterator[HttpBank]:
    """A server on a free port."""
    app = HttpBank(bank)
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn only has a flag.
        await asyncio.sleep(0.01)
    app.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield app
    finally:
        server.should_exit = True
        await serving
