"""The read API with its insides at hand: what it keeps in memory, and the moments between a question and its answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import psycopg
from starlette.types import Message, Receive, Scope, Send

from readapi.app import create_app
from readapi.edge import Edge
from readapi.news import News
from tests.integration.readapi.mirror import running, settings
from tests.waiting import until


class Kept:
    """A read API that hears its database, and a client of it."""

    def __init__(self, edge: Edge, client: httpx.AsyncClient) -> None:
        self.edge = edge
        self.hot = edge.hot
        self.client = client
        # What the process was told of, after it has acted on it; None: that it may have missed anything.
        self.told: list[frozenset[str] | None] = []
        cast(News, edge.hot.trust).subscribe(self.told.append)
        # Requests that went past what is kept.
        self.asked = 0
        # While cleared, answers that were read from the database already wait here.
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.waiting = asyncio.Semaphore(0)
        self._behind, edge.app = edge.app, self._hold

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """An answer; header names are written with underscores."""
        return await self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def hears(self) -> None:
        """Wait until silence means that nothing changed."""

        async def trusted() -> bool:
            return asyncio.get_running_loop().time() <= self.edge.hot.trust.trusted_until

        await until(trusted)

    async def heard(self, invalidations: int) -> None:
        """Wait until the database was heard so many times."""

        async def enough() -> bool:
            return self.hot.invalidations >= invalidations

        await until(enough, pause=0.002)

    async def _hold(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start" and not self.may_answer.is_set():
                self.waiting.release()
                await self.may_answer.wait()
            await send(message)

        if scope["type"] == "http":
            self.asked += 1
        await self._behind(scope, receive, send_on if scope["type"] == "http" else send)


@asynccontextmanager
async def keeping(database_url: str, **given: Any) -> AsyncIterator[Kept]:
    """A read API with these settings, as soon as it hears the database."""
    edge = create_app(settings(database_url, **given))
    transport = httpx.ASGITransport(edge, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        kept = Kept(edge, client)
        async with running(edge):
            await kept.hears()
            yield kept


def commit(database_url: str, accounts: list[str] | None, statement: str, *parameters: Any) -> None:
    """A change as ingest makes it: rows and notification in one transaction, as the owner."""
    with psycopg.connect(database_url) as writer:
        writer.execute(statement.encode(), parameters)
        writer.execute("SELECT pg_notify('bankmirror_changed', %s)", [json.dumps({"accounts": accounts})])
