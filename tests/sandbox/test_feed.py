"""The change feed: whoever replays it has the books, however the books move meanwhile."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox import store, ticker
from sandbox.cursors import FeedCursor
from sandbox.settings import Settings
from sandbox.store import Connection


@dataclass
class Mirror:
    """A client of the feed, as naive as the contract allows."""

    client: httpx.AsyncClient
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    cursor: str | None = None
    more: bool = False

    async def read(self, limit: int) -> dict[str, Any]:
        """One page, applied."""
        params: dict[str, Any] = {"limit": limit} | ({"cursor": self.cursor} if self.cursor else {})
        response = await self.client.get("/transactions/changes", params=params)
        assert response.status_code == 200, response.text
        page: dict[str, Any] = response.json()
        assert len(page["added"]) + len(page["modified"]) + len(page["removed"]) <= limit
        for row in page["added"] + page["modified"]:
            self.rows[row["transaction_id"]] = row
        for row in page["removed"]:
            self.rows.pop(row["transaction_id"], None)
        self.cursor, self.more = page["next_cursor"], page["has_more"]
        return page

    async def catch_up(self, limit: int = 500) -> None:
        """Every page of the loop."""
        await self.read(limit)
        while self.more:
            await self.read(limit)


@pytest.fixture
async def conn(bank_url: str, client: httpx.AsyncClient) -> AsyncIterator[Connection]:
    """Life's connection; the tests decide when time passes."""
    async with await Connection.connect(bank_url, **store.connection_options()) as conn:
        yield conn


async def live(conn: Connection, hours: float, *, speed: float = 3600.0) -> None:
    """Let time pass in steps of half a day."""
    config = Settings(database_url="unused", speed=speed)
    left = timedelta(hours=hours)
    while left > timedelta():
        now = (await store.get_ledger(conn)).bank_time
        await ticker.step(conn, config, now + min(left, timedelta(hours=12)))
        left -= timedelta(hours=12)


async def listing(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/transactions", params={"limit": "500"} | cursor)).json()
        rows |= {row["transaction_id"]: row for row in page["data"]}
        if page["next_cursor"] is None:
            return rows
        cursor = {"cursor": page["next_cursor"]}


async def check_balances(client: httpx.AsyncClient, rows: dict[str, dict[str, Any]]) -> None:
    for balance in (await client.get("/balances")).json()["data"]:
        own = [row for row in rows.values() if row["account_id"] == balance["account_id"]]
        posted = sum(row["amount_cents"] for row in own if row["status"] == "posted")
        held = sum(min(row["amount_cents"], 0) for row in own if row["status"] == "pending")
        assert balance["current_cents"] == posted
        assert balance["available_cents"] in (None, posted + held)


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.integers(1, 36)),
        st.tuples(st.just("pay"), st.integers(1, 50_000)),
        st.tuples(st.just("read"), st.sampled_from([1, 2, 7, 50, 500])),
        st.tuples(st.just("start over"), st.just(0)),
    ),
    max_size=8,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps, last_limit=st.sampled_from([3, 40, 500]))
async def test_replay_equals_the_books(
    client: httpx.AsyncClient, conn: Connection, steps: list[tuple[str, int]], last_limit: int
) -> None:
    """Time, payments and pages of any size in any order: once caught up, the mirror is the listing."""
    mirror = Mirror(client)
    await mirror.catch_up()
    for step, size in steps:
        match step:
            case "live":
                await live(conn, size)
            case "pay":
                head = (await store.get_ledger(conn)).head
                order = {"source_account_id": "acct_123", "destination_account_id": "acct_456",
                         "amount_cents": size, "type": "transfer"}  # fmt: skip
                await client.post("/transactions", json=order, headers={"Idempotency-Key": f"at-{head}"})
            case "read":
                await mirror.read(size)
            case _:
                mirror = Mirror(client)
                await mirror.read(50)
    await mirror.catch_up(last_limit)

    books = await listing(client)
    assert mirror.rows == books
    await check_balances(client, books)


async def test_what_is_added_modified_removed(client: httpx.AsyncClient, conn: Connection) -> None:
    """Relative to its cursor new is added, changed is modified, gone is removed, never seen is not sent."""
    await live(conn, 30)
    mirror = Mirror(client)
    await mirror.catch_up()
    known = set(mirror.rows)
    await live(conn, 120)

    page = await mirror.read(500)

    assert not page["has_more"]
    assert not {row["transaction_id"] for row in page["added"]} & known
    assert {row["transaction_id"] for row in page["modified"] + page["removed"]} <= known
    assert page["modified"]
    assert page["removed"]
    assert all(list(row) == ["transaction_id", "account_id"] for row in page["removed"])


async def test_from_the_beginning_everything_is_added(client: httpx.AsyncClient, conn: Connection) -> None:
    """A first loop of many pages knows neither modified rows nor tombstones of what it never showed."""
    await live(conn, 72)
    mirror = Mirror(client)
    pages = [await mirror.read(23)]
    while mirror.more:
        pages.append(await mirror.read(23))

    assert len(pages) > 10
    assert not any(page["modified"] or page["removed"] for page in pages)
    ids = [row["transaction_id"] for page in pages for row in page["added"]]
    assert len(ids) == len(set(ids))


async def test_removed_within_a_loop(client: httpx.AsyncClient, conn: Connection) -> None:
    """What was shown on one page and removed before the next is taken back in the same loop."""
    await live(conn, 24)
    mirror = Mirror(client)
    pending = (await client.get("/transactions?status=pending")).json()["data"]
    await mirror.read(500)
    while not {row["transaction_id"] for row in pending} <= set(mirror.rows):
        assert mirror.more
        await mirror.read(500)
    await live(conn, 24 * 8)
    await mirror.catch_up(10)

    assert mirror.rows == await listing(client)


async def test_rows_that_do_not_move_are_listed_once(client: httpx.AsyncClient, conn: Connection) -> None:
    """Paging the listing while the books move still shows everything that stays, exactly once."""
    before = await listing(client)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/transactions", params={"limit": "60"} | cursor)).json()
        seen += [row["transaction_id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        await live(conn, 3)
    after = await listing(client)

    still = {key for key in before if before[key] == after.get(key)}
    assert len(still) > 300
    assert still <= set(seen)
    assert all(seen.count(key) == 1 for key in still)


async def test_strict_pagination(client: httpx.AsyncClient, conn: Connection) -> None:
    """Switched on, page two of a loop fails when the log moved since page one; a new loop does not."""
    await client.post("/_admin/settings", json={"strict_pagination": True})
    try:
        mirror = Mirror(client)
        await mirror.read(10)
        await mirror.read(10)
        await live(conn, 24)
        response = await client.get("/transactions/changes", params={"cursor": str(mirror.cursor)})
        assert (response.status_code, response.json()["type"]) == (
            409,
            "/problems/mutation-during-pagination",
        )
        assert (await client.get("/transactions/changes")).status_code == 200
    finally:
        await client.post("/_admin/settings", json={"strict_pagination": False})
    await mirror.read(10)


async def test_reset(client: httpx.AsyncClient) -> None:
    """After a reset older cursors have expired, and a loop from the beginning has everything."""
    mirror = Mirror(client)
    await mirror.catch_up()
    await client.post("/_admin/reset-feed")

    response = await client.get("/transactions/changes", params={"cursor": str(mirror.cursor)})

    assert (response.status_code, response.json()["type"]) == (410, "/problems/cursor-expired")
    fresh = Mirror(client)
    await fresh.catch_up()
    assert fresh.rows == await listing(client)


async def test_positions_are_gap_free(bank_url: str, client: httpx.AsyncClient, conn: Connection) -> None:
    """The log's head counts every change there was, and no row is beyond it."""
    before = (await store.get_ledger(conn)).head
    await live(conn, 200)

    async with await psycopg.AsyncConnection.connect(bank_url) as raw:
        cursor = await raw.execute("SELECT head, (SELECT max(position) FROM bank.transactions) FROM bank.ledger")
        [(head, last)] = await cursor.fetchall()
        cursor = await raw.execute("SELECT count(*) FROM bank.transactions a JOIN bank.removals b USING (position)")
        [(shared,)] = await cursor.fetchall()
    assert head > before
    assert last <= head
    assert shared == 0


def test_a_cursor_survives_its_encoding() -> None:
    """What goes in comes out."""
    for cursor in (FeedCursor(1, 0, 0, None), FeedCursor(7, 2**62, 3, 9)):
        assert FeedCursor.decode(cursor.encode()) == cursor
