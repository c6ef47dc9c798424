"""The bank lives: deterministically, durably, once, and never backwards."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from sandbox import clock, life, schedule, seed, store, ticker
from sandbox.entries import Account, Amend, Book, Booked, Entry, Hold, Remove
from sandbox.settings import Settings
from sandbox.store import Connection
from tests.waiting import until

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
ACCOUNTS = [plan.account for plan in seed.plan_accounts(42, 8)]
RICH = [Account(a.account_id, a.ordinal, a.name, a.type, a.currency, a.status, 10**9) for a in ACCOUNTS]


def tick(number: int, events: float = 40.0, hours: int = 24) -> life.Tick:
    return life.Tick(number, NOON, NOON + timedelta(hours=hours), events, (86_400.0, 3 * 86_400.0))


def test_the_same_tick_is_the_same() -> None:
    """Chance depends on the seed and the tick, and on nothing else."""
    one, same = (life.changes_of(42, tick(1), RICH, [], []) for _ in range(2))

    assert one == same
    assert one != life.changes_of(42, tick(2), RICH, [], [])
    assert one != life.changes_of(43, tick(1), RICH, [], [])


def test_what_happens_happens_within_the_tick() -> None:
    """Nothing is created before the tick began, after it ended, or on a closed account."""
    closed = {a.account_id for a in RICH if a.status == "closed"}
    for number in range(20):
        changes = life.changes_of(42, tick(number), RICH, [], [])
        entries = [change.entry for change in changes if isinstance(change, Book)]
        assert all(NOON < entry.created_at <= NOON + timedelta(days=1) for entry in entries)
        assert all(entry.booked_on is None or entry.booked_on <= entry.created_at.date() for entry in entries)
        assert not closed & {entry.account_id for entry in entries}
        assert closed


def test_a_poor_account_spends_nothing() -> None:
    """A bank declines the card: by chance, nothing is taken that is not there."""
    for number in range(20):
        changes = life.changes_of(42, tick(number, hours=1), ACCOUNTS, [], [])
        purse = Counter[str]()
        for change in changes:
            assert isinstance(change, Book)
            purse[change.entry.account_id] += change.entry.amount_cents
        assert all(cents >= 0 for cents in purse.values())


def hold(outcome: Any, name: str = "Harbor Hotel") -> Hold:
    entry = Entry("acct_123", -10_000, "card", "HARBOR HOTEL", NOON, None, name)
    return Hold(Booked("txn_held", entry), NOON + timedelta(hours=1), outcome)


def test_a_hold_is_replaced() -> None:
    """Posted under another id that points at the hold, which is removed; a metered amount differs."""
    [removed, booked] = life.changes_of(42, tick(1, events=0, hours=2), RICH, [hold("replaced")], [])

    assert removed == Remove("txn_held", "acct_123")
    assert isinstance(booked, Book)
    assert booked.entry.pending_transaction_id == "txn_held"
    assert booked.entry.booked_on is not None
    assert booked.entry.amount_cents < 0


def test_a_hold_is_posted_in_place_or_released() -> None:
    """The other two ends of a hold."""
    posted = life.changes_of(42, tick(1, events=0, hours=2), RICH, [hold("posted")], [])
    released = life.changes_of(42, tick(1, events=0, hours=2), RICH, [hold("released")], [])

    assert posted == [Amend("txn_held", "acct_123", booked_on=NOON.date())]
    assert released == [Remove("txn_held", "acct_123")]


def test_standing_orders() -> None:
    """A month has two payrolls that are funded to the cent, one rent, and every subscription once."""
    month = schedule.entries_due(42, ACCOUNTS, datetime(2026, 1, 31, 23, 59, tzinfo=UTC),
                                 datetime(2026, 2, 28, 23, 59, tzinfo=UTC))  # fmt: skip

    kinds = Counter(entry.type for entry in month)
    assert kinds["payroll"] == 24
    assert kinds["transfer"] == 4
    paid = [entry for entry in month if entry.account_id == "acct_456" and entry.type != "fee"]
    assert sum(entry.amount_cents for entry in paid) == 0
    assert [entry.booked_on.day for entry in month if entry.booked_on and "RENT" in entry.description] == [1]
    assert {entry.booked_on.day for entry in month if entry.booked_on and entry.type == "payroll"} == {15, 28}


def test_the_clock() -> None:
    """It runs at its speed, never backwards, catches up with the wall clock, and may stay ahead of it."""
    fast = clock.resume(NOON, NOON, real=100.0, speed=3600)
    behind = clock.resume(NOON, NOON + timedelta(hours=5), real=100.0, speed=1)
    ahead = clock.resume(NOON, NOON - timedelta(hours=5), real=100.0, speed=1)

    assert fast.now(101.0) == NOON + timedelta(hours=1)
    assert fast.now(99.0) == NOON
    assert behind.now(100.0) == NOON + timedelta(hours=5)
    assert ahead.now(100.0) == NOON
    assert fast.now(1e18).year == 9998


async def make_bank(url: str, *, ticks: int, transactions: int = 300) -> list[tuple[Any, ...]]:
    """A bank with a history and some ticks, and all its rows."""
    config = Settings(database_url=url, speed=7200)
    async with await Connection.connect(url, **store.connection_options()) as conn:
        await seed.prepare(conn, seed=42, accounts=9, transactions=transactions, now=NOON)
        for hours in range(1, ticks + 1):
            await ticker.step(conn, config, NOON + timedelta(hours=5 * hours))
    async with await psycopg.AsyncConnection.connect(url) as raw:
        cursor = await raw.execute("SELECT t.* FROM bank.transactions AS t ORDER BY position")
        rows = await cursor.fetchall()
        cursor = await raw.execute("SELECT a.* FROM bank.accounts AS a ORDER BY ordinal")
        return rows + await cursor.fetchall()


async def test_two_banks_of_one_seed(bank_url: str, second_url: str) -> None:
    """The same seed, day and ticks make the same rows, ids, positions and balances."""
    one = await make_bank(bank_url, ticks=30)
    other = await make_bank(second_url, ticks=30)

    assert len(one) > 400
    assert one == other


@pytest.mark.parametrize(("accounts", "transactions"), [(2, 0), (2, 50), (6, 1_000), (60, 3_000)])
async def test_histories_of_any_size(second_url: str, accounts: int, transactions: int) -> None:
    """As many rows as asked for, at least one an account; each account's balance is the sum of its rows."""
    async with await Connection.connect(second_url, **store.connection_options()) as conn:
        await seed.prepare(conn, seed=7, accounts=accounts, transactions=transactions, now=NOON)
        rows = await (
            await conn.execute("SELECT count(*) AS n, max(position) AS head FROM bank.transactions")
        ).fetchone()
        wrong = await conn.execute(
            """SELECT account_id FROM bank.accounts AS a WHERE current_cents IS DISTINCT FROM
               (SELECT sum(amount_cents) FROM bank.transactions AS t WHERE t.account_id = a.account_id)"""
        )
        assert await wrong.fetchall() == []
    assert rows == {"n": max(accounts, transactions), "head": max(accounts, transactions)}


async def test_a_second_start_keeps_everything(second_url: str, start_bank: Any) -> None:
    """A database that has a bank keeps it, whatever the settings say now; a key still has its answer."""
    order = {"source_account_id": "acct_123", "destination_account_id": "acct_456", "amount_cents": 7,
             "type": "transfer"}  # fmt: skip
    key = {"Idempotency-Key": "durable"}
    async with start_bank(second_url) as client:
        paid = (await client.post("/transactions", json=order, headers=key)).json()
        before = (await client.get("/transactions/changes?limit=500")).json()
    async with start_bank(second_url, transactions=50, accounts=3, seed=1) as client:
        after = (await client.get("/transactions/changes?limit=500")).json()
        again = await client.post("/transactions", json=order, headers=key)

    assert after == before
    assert (again.status_code, again.json()) == (200, paid)


async def lives(client: httpx.AsyncClient, head: int = 400) -> None:
    """Wait until something has happened by itself since there were so many changes."""

    async def happened() -> bool:
        return int((await client.get("/health")).json().get("head", 0)) > head

    await until(happened)


async def test_two_processes_live_once(second_url: str, start_bank: Any) -> None:
    """Beside one that lives, another serves the same books and does not live."""
    pace = {"life": True, "live_events_per_minute": 600.0}
    leaders = """
        SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
         WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"""
    async with start_bank(second_url, **pace) as first, start_bank(second_url, **pace) as second:
        await lives(first)
        async with await psycopg.AsyncConnection.connect(second_url) as raw:
            assert await (await raw.execute(leaders)).fetchall() == [(1,)]
        heads = [(await client.get("/health")).json()["head"] for client in (first, second)]

    assert 400 < heads[0] <= heads[1]


async def test_life_survives_its_connection(second_url: str, start_bank: Any) -> None:
    """A cut connection interrupts life for a moment; then time goes on."""
    async with start_bank(second_url, life=True, live_events_per_minute=600.0) as client:
        await lives(client)
        async with await psycopg.AsyncConnection.connect(second_url, autocommit=True) as raw:
            await raw.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                              "WHERE datname = current_database() AND pid <> pg_backend_pid()")  # fmt: skip
        before = (await client.get("/health")).json().get("head", 0)
        await lives(client, before)
