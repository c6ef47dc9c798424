"""The model: a full copy of what the mirror held at each moment that a test noted."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import httpx

from tests.integration.ingest.conftest import Mirror

# What the mirror holds, asked of its own tables and by no view of history.
HELD = """
SELECT account_id, transaction_id, amount_minor, currency, status, booked_on::text, description
  FROM snapshot.transactions ORDER BY account_id, created_at DESC, transaction_id DESC
"""
BALANCES = "SELECT account_id, currency, current_minor FROM snapshot.balances ORDER BY account_id, currency"
COLUMNS = ("account_id", "transaction_id", "amount_minor", "currency", "status", "booked_on")


@dataclass
class Noted:
    """A moment, what the mirror held then, and what the read API said of it at once."""

    at: datetime
    rows: list[tuple[Any, ...]]
    balances: list[tuple[Any, ...]]
    said: dict[str, bytes] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The moment, as a parameter of a query."""
        return self.at.isoformat().replace("+", "%2B")

    def of(self, account_id: str) -> list[tuple[Any, ...]]:
        """The rows of one account, newest first."""
        return [row[:6] for row in self.rows if row[0] == account_id]


def paths(noted: Noted) -> list[str]:
    """Every question that can be asked of one moment."""
    known = f"known_at={noted.text}"
    return [
        f"/banking/accounts/acct_a/transactions?limit=500&{known}",
        f"/banking/accounts/acct_b/transactions?limit=500&{known}",
        f"/banking/accounts/acct_a/transactions?limit=2&status=posted&{known}&as_of={noted.text}",
        f"/banking/accounts/acct_a/balances?{known}",
        f"/banking/balances?{known}",
        f"/banking/cash-flow?from=2000-01-01&{known}",
        f"/banking/cash-flow?group=month&account_id=acct_a&{known}",
    ]


class Book:
    """Notes moments, and asks about them."""

    def __init__(self, mirror: Mirror, client: httpx.AsyncClient) -> None:
        self.mirror = mirror
        self.client = client
        self.noted: list[Noted] = []

    async def empty(self) -> None:
        """Forget everything, as before any bank; but for the clock, which never goes back."""
        self.noted.clear()
        tables = await self.mirror.ask(
            "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace::regnamespace::text IN ('snapshot', 'sync')"
            " AND oid::regclass::text NOT IN ('snapshot.currencies', 'sync.clock')"
        )
        await self.mirror.owner.execute(f"TRUNCATE {tables[0][0]}".encode())

    async def note(self, *, asks: bool = True) -> Noted:
        """Note this moment; and unless told otherwise, what the read API says of it."""
        noted = Noted(await self.now(), await self.mirror.ask(HELD), await self.mirror.ask(BALANCES))
        # As ingest does once a second: the moment is past.
        await self.mirror.ask("SELECT sync.move_clock()")
        if asks:
            noted.said = {path: await self.bytes(path) for path in paths(noted)}
        self.noted.append(noted)
        return noted

    async def now(self) -> datetime:
        """By the database's clock."""
        return cast(datetime, (await self.mirror.ask("SELECT clock_timestamp()"))[0][0])

    async def bytes(self, path: str) -> bytes:
        """The body of an answer."""
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        return response.content

    async def data(self, path: str) -> Any:
        """The data of an answer."""
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()["data"]

    async def known(self, noted: Noted, account_id: str = "acct_a") -> list[tuple[Any, ...]]:
        """An account's transactions as the read API says they were known at a moment, all pages."""
        found: list[tuple[Any, ...]] = []
        path: str | None = f"/banking/accounts/{account_id}/transactions?limit=3&known_at={noted.text}"
        while path is not None:
            response = await self.client.get(path)
            assert response.status_code == 200, response.text
            found += [tuple(row[name] for name in COLUMNS) for row in response.json()["data"]]
            path = response.links["next"]["url"] if "next" in response.links else None
        return found

    async def diff(self, since: Noted, until: Noted, query: str = "") -> dict[str, Any]:
        """What changed between two moments: all pages of lines under one summary."""
        whole: dict[str, Any] = {}
        path: str | None = f"/banking/diff?limit=4&known_from={since.text}&known_to={until.text}{query}"
        while path is not None:
            response = await self.client.get(path)
            assert response.status_code == 200, response.text
            data = response.json()["data"]
            if whole:
                assert data["summary"] == whole["summary"]
                whole["differences"] += data["differences"]
            else:
                whole = data
            path = response.links["next"]["url"] if "next" in response.links else None
        return whole

    async def kinds(self, since: Noted, until: Noted, query: str = "") -> list[tuple[str, str]]:
        """The id and kind of each difference; the sums must tie."""
        found = await self.diff(since, until, query)
        assert all(line["ties"] for line in found["summary"]), found["summary"]
        return [(line["transaction_id"], line["kind"]) for line in found["differences"]]

    async def same_bytes(self) -> None:
        """Whatever happened since, each noted moment is answered as it was."""
        for noted in self.noted:
            for path, said in noted.said.items():
                assert await self.bytes(path) == said, path
