"""A read API that keeps its answers, every question that it can be asked, and when it has heard everything."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg

from readapi.app import create_app
from readapi.edge import Edge
from readapi.news import News
from tests.integration.readapi.mirror import running, settings
from tests.waiting import until

# Answers from the database, whatever is kept.
ASK_ANEW = {"Cache-Control": "no-cache"}


class Kept:
    """A client of the read API, with what the tests look at inside of it."""

    def __init__(self, edge: Edge, client: httpx.AsyncClient, database_url: str) -> None:
        self.edge = edge
        self.client = client
        self._url = database_url

    @property
    def news(self) -> News:
        """What it hears of the database."""
        news = self.edge.hot.trust
        assert isinstance(news, News)
        return news

    async def document(self) -> dict[str, Any]:
        """Its OpenAPI document."""
        found: dict[str, Any] = (await self.client.get("/openapi.json")).json()
        return found

    async def listens(self) -> None:
        """Wait until it keeps answers."""

        async def trusted() -> bool:
            return self.news.trusted_until > asyncio.get_running_loop().time()

        await until(trusted, pause=0.01)

    async def has_heard(self) -> None:
        """Wait until it has heard all that was committed before: messages come in the order of their commits."""
        marker = f"marker {secrets.token_hex(4)}"
        with self.news.watch(frozenset({marker})) as watch:
            async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                await connection.execute(
                    "SELECT pg_notify('bankmirror_changed', %s)", [f'{{"accounts": ["{marker}"]}}']
                )

            async def heard() -> bool:
                return await watch.heard(0.0)

            await until(heard, pause=0.005)

    async def etag(self, path: str, **headers: str) -> str:
        """What an answer says, in short: the data and the verdict on it."""
        response = await self.client.get(path, headers=headers)
        assert response.status_code == 200, (path, response.text)
        return response.headers["etag"]


@asynccontextmanager
async def keeping(database_url: str, **given: Any) -> AsyncIterator[Kept]:
    """A read API that listens."""
    edge = create_app(settings(database_url, **given))
    async with running(edge):
        transport = httpx.ASGITransport(edge, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            kept = Kept(edge, client, database_url)
            await kept.listens()
            yield kept


# What an endpoint asks for although it calls none of it required.
_ALSO = {"/banking/can-pay": {"amount_minor": "1"}}


def questions(document: dict[str, Any], account_id: str, transaction_id: str) -> Iterator[str]:
    """Every question of the API about what the mirror holds now, of one account and of all of them.

    New endpoints are among them by themselves. Not asked is what only tells of moments in the past, or never ends.
    """
    named = {"account_id": account_id, "transaction_id": transaction_id}
    for template, operations in document["paths"].items():
        if not template.startswith("/banking") or "get" not in operations:
            continue
        operation = operations["get"]
        parameters = {parameter["name"]: parameter for parameter in operation.get("parameters", ())}
        if "application/json" not in operation["responses"]["200"]["content"] or "known_from" in parameters:
            continue
        asked = {
            name: named.get(name) or parameter["schema"].get("examples", [None])[0] or parameter["examples"][0]
            for name, parameter in parameters.items()
            if parameter["in"] == "query" and parameter.get("required")
        }
        path = template.format(**named)
        yield _address(path, {**asked, **_ALSO.get(template, {})})
        if "account_id" in parameters and parameters["account_id"]["in"] == "query":
            yield _address(path, {**asked, **_ALSO.get(template, {}), "account_id": account_id})


def _address(path: str, asked: dict[str, str]) -> str:
    return f"{path}?{urlencode(asked)}" if asked else path
