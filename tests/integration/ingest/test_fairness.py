"""Two thousand histories that are due neither starve the balances nor slow the claims down."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from banks.ports import FetchedTransaction, Page, Window
from ingest import store
from ingest.budget import KIND, Budget
from ingest.poll import Desk
from ingest.scheduler import Clockwork, Watchdog
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import ModelBank, ModelReader

TARGETS = int(os.environ.get("BANKMIRROR_TEST_TARGETS", "2000"))

# Every account is due, and has been for an hour.
CROWD = f"""
    INSERT INTO sync.targets (connection_id, account_id, feed, interval_seconds, due_at)
    SELECT 'default', 'crowd_' || n, 'transactions', 0.5, now() - interval '1 h' FROM generate_series(1, {TARGETS}) AS n
"""  # a number of ours


class StuckReader(ModelReader):
    """A bank that is read account by account, and never answers for a history."""

    def __init__(self, bank: ModelBank) -> None:
        super().__init__(bank, delta_feed=False)
        self.polled = asyncio.Condition()
        self.balances_polled = 0

    async def balances(self, account_id: str | None) -> AsyncIterator[Any]:
        async for page in super().balances(account_id):
            yield page
        async with self.polled:
            self.balances_polled += 1
            self.polled.notify_all()

    async def transactions(
        self, account_id: str, window: Window, cursor: str | None
    ) -> AsyncIterator[Page[FetchedTransaction]]:
        await asyncio.Event().wait()
        yield Page([], [], None, None)


@pytest.fixture
async def crowded(bank: ModelBank, mirror: Mirror) -> Desk:
    """A desk with two thousand histories due before anything else."""
    desk = await mirror.open(StuckReader(bank), poll_seconds=0.5, worker="one")
    await mirror.owner.execute(CROWD.encode())
    return desk


async def test_t49_balances_are_polled_in_their_interval(crowded: Desk) -> None:
    """All slots for histories are taken for good, two thousand more wait; balances go on at their own pace."""
    reader = crowded.bank
    assert isinstance(reader, StuckReader)
    clockwork = Clockwork(crowded, "default", Watchdog(60, lambda: None))
    clockwork.start()
    try:
        async with asyncio.timeout(30), reader.polled:
            await reader.polled.wait_for(lambda: reader.balances_polled >= 3)
    finally:
        await clockwork.stop(grace_seconds=0)


async def test_t49_what_is_due_longer_does_not_come_before_the_balances(crowded: Desk, mirror: Mirror) -> None:
    """One place is free: it goes to the listings, however long the histories have been due."""
    claims = await store.claim(
        mirror.pool, connection_id="default", holder="one", lease_seconds=30, kinds=("listings", "transactions")
    )

    assert [claim.feed for claim in claims] == ["balances"]


async def test_histories_are_not_starved_by_balances(crowded: Desk, mirror: Mirror) -> None:
    """Where each account has a balance of its own, the slots of the histories take histories first."""
    await mirror.owner.execute(CROWD.replace("'transactions'", "'balances'").encode())

    claims = await store.claim(
        mirror.pool,
        connection_id="default",
        holder="one",
        lease_seconds=30,
        targets_max=4,
        kinds=("transactions", "listings"),
    )

    assert {claim.feed for claim in claims} == {"transactions"}


async def test_a_slot_takes_what_there_is(crowded: Desk, mirror: Mirror) -> None:
    """No slot stays empty while anything is due."""
    await mirror.owner.execute("UPDATE sync.targets SET due_at = 'infinity' WHERE feed = 'transactions'")

    claims = await store.claim(
        mirror.pool, connection_id="default", holder="one", lease_seconds=30, targets_max=4,
        kinds=("transactions", "listings"),
    )  # fmt: skip

    assert [claim.feed for claim in claims] == ["balances"]


async def test_t31_what_another_process_is_just_claiming_is_passed_over(crowded: Desk, mirror: Mirror) -> None:
    """Nobody waits for its lock, and nobody gets the same."""
    due = {"connection_id": "default", "kind": "transactions", "targets_max": 5}
    async with mirror.pool.connection() as other:
        theirs = await (await other.execute(store.QUERIES["targets_due"], due)).fetchall()
        async with asyncio.timeout(4):  # Less than a lock is waited for.
            ours = await store.claim(
                mirror.pool, connection_id="default", holder="one", lease_seconds=30, targets_max=5,
                kinds=("transactions",),
            )  # fmt: skip

    assert len(theirs) == len(ours) == 5
    assert not {account_id for account_id, _ in theirs} & {claim.account_id for claim in ours}


async def test_who_would_only_wait_for_a_permit_is_not_claimed(crowded: Desk, mirror: Mirror) -> None:
    """A lease that waits for the budget is held for nothing, and another process may have permits."""
    budget = Budget(mirror.pool, "default", 6)
    KIND.set("transactions")
    waiting = [asyncio.create_task(budget.enter()) for _ in range(4)]
    try:
        async with asyncio.timeout(30):
            while not budget.is_short("transactions"):  # noqa: ASYNC110  # Tasks have no event for it.
                await asyncio.sleep(0.01)
        clockwork = Clockwork(crowded._replace(budget=budget), "default", Watchdog(60, lambda: None))

        claims = await clockwork._claim("transactions", 4)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert [claim.feed for claim in claims] == ["balances"]


async def test_a_claim_costs_the_same_however_many_are_due(crowded: Desk, mirror: Mirror) -> None:
    """The next ones are read off the index: no sort, and no scan of what is due."""
    await mirror.owner.execute("ANALYZE sync.targets")
    query = store.QUERIES["targets_due"]
    for kind in ("transactions", "listings"):
        plan = await _explain(mirror, query, kind)
        assert "targets_due_by_kind" in plan
        assert "Sort" not in plan
        assert "Seq Scan on targets" not in plan

    spent = []
    for _ in range(20):
        began = time.perf_counter()
        claims = await store.claim(
            mirror.pool, connection_id="default", holder="one", lease_seconds=30, kinds=("transactions",)
        )
        spent.append(time.perf_counter() - began)
        assert claims
    print(f"a claim among {TARGETS:,} due targets: {sorted(spent)[10] * 1000:.2f} ms (median of 20)")


async def _explain(mirror: Mirror, query: str, kind: str) -> str:
    async with mirror.pool.connection() as connection:
        cursor = await connection.execute(
            f"EXPLAIN (ANALYZE, BUFFERS) {query}".encode(),
            {"connection_id": "default", "kind": kind, "targets_max": 4},
        )
        rows: Iterable[tuple[str]] = await cursor.fetchall()
        await connection.rollback()
    return "\n".join(line for (line,) in rows)
