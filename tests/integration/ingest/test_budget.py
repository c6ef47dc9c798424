"""What all processes together may ask of a bank, over real HTTP and a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from banks.ports import BankThrottled
from banks.registry import open_reader
from ingest import store
from ingest.budget import KIND, Budget
from ingest.demand import Demands, listen
from ingest.once import once
from ingest.poll import Desk
from ingest.settings import IngestSettings
from ingest.store import QUERIES, Kind
from kernel.database import INGEST, Pool, conninfo
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.http_bank import Answer, HttpBank, problem, serve_bank
from tests.integration.ingest.model_bank import ModelBank, ModelReader


@pytest.fixture
async def http_bank(bank: ModelBank) -> AsyncIterator[HttpBank]:
    """A bank with a few transactions."""
    for number in range(12):
        bank.post("acct_a", -number - 1)
    async with serve_bank(bank) as serving:
        yield serving


@pytest.fixture
async def introduced(mirror: Mirror, bank: ModelBank) -> None:
    """A connection that is known to the database, with nothing taken yet."""
    await mirror.open(ModelReader(bank))


async def drain(budget: Budget, kind: Kind, seconds: float) -> int:
    """How many requests of a kind are let through in a time, when as many as possible are wanted."""
    KIND.set(kind)
    entered = 0

    async def knock() -> None:
        nonlocal entered
        while True:
            try:
                await budget.enter()
            except BankThrottled:
                await asyncio.sleep(0.01)
                continue
            entered += 1

    knocking = [asyncio.create_task(knock()) for _ in range(4)]
    await asyncio.sleep(seconds)
    for task in knocking:
        task.cancel()
    await asyncio.gather(*knocking, return_exceptions=True)
    return entered


async def test_t31_two_processes_share_one_budget(introduced: None, pool: Pool, mirror: Mirror) -> None:
    """However many knock, together they get what the limit allows for the time that the database saw pass."""
    budgets = [Budget(pool, "default", 1_200) for _ in range(3)]
    (before,) = await mirror.ask("SELECT clock_timestamp() FROM pg_sleep(0)")

    entered = sum(await asyncio.gather(*(drain(budget, "transactions", 1.5) for budget in budgets)))

    (seconds,) = (await mirror.ask("SELECT extract(epoch FROM clock_timestamp() - %s)::float8", before[0]))[0]
    # Twenty a second, of which four fifths for transactions and what flows over from the rest, after a burst of sixty.
    assert entered <= 60 + 20 * seconds
    assert entered >= 20, "and they do get it"


async def test_t49_transactions_cannot_use_up_what_is_for_balances(
    introduced: None, pool: Pool, mirror: Mirror
) -> None:
    """With all open permits gone, and none to come for an hour, accounts and balances still have theirs."""
    await drain(Budget(pool, "default", 600), "transactions", 0.5)
    ((left, reserved),) = await mirror.ask("SELECT open_permits, reserved_permits FROM sync.budgets")
    assert left < 1 <= reserved
    await mirror.owner.execute(
        "UPDATE sync.budgets SET open_permits = 0, reserved_permits = 1, filled_at = now() + interval '1 h'"
    )

    KIND.set("listings")
    async with asyncio.timeout(10):
        await Budget(pool, "default", 6).enter()

    assert await mirror.ask("SELECT open_permits, reserved_permits FROM sync.budgets") == [(0, 0)]


async def test_t49_balances_cannot_use_up_what_is_for_transactions(introduced: None, pool: Pool) -> None:
    """Where a bank has a balance for each of two thousand accounts, the histories go on as well."""
    budget = Budget(pool, "default", 600)
    await drain(budget, "listings", 0.5)

    assert await drain(budget, "transactions", 0.5) >= 2


async def test_what_one_kind_leaves_flows_over_to_the_other(introduced: None, pool: Pool, mirror: Mirror) -> None:
    """Nothing of the limit is lost: while only transactions are asked for, they get the fifth of the others, too."""
    await mirror.owner.execute("UPDATE sync.budgets SET filled_at = now() - interval '1 h'")
    taking = {
        "connection_id": "default", "reserved": False, "wanted": 1000,
        "reserved_cap": 2.0, "open_cap": 10.0, "reserved_rate": 2.0, "open_rate": 8.0,
    }  # fmt: skip
    async with pool.connection() as connection:
        full = await (await connection.execute(QUERIES["budget_take"], taking)).fetchone()
        await connection.execute("UPDATE sync.budgets SET filled_at = clock_timestamp() - interval '1 s'")
        second = await (await connection.execute(QUERIES["budget_take"], taking)).fetchone()

    assert full is not None
    assert second is not None
    assert (full[0], second[0]) == (10, 10), "eight of its own, and two that did not fit any more"


async def test_a_clock_that_was_set_back_gives_nothing(introduced: None, pool: Pool, mirror: Mirror) -> None:
    """Nor does it take anything away."""
    await mirror.owner.execute(
        "UPDATE sync.budgets SET filled_at = now() + interval '1 h', open_permits = 3, reserved_permits = 1"
    )
    taking = {
        "connection_id": "default", "reserved": False, "wanted": 1000,
        "reserved_cap": 2.0, "open_cap": 10.0, "reserved_rate": 2.0, "open_rate": 8.0,
    }  # fmt: skip
    async with pool.connection() as connection:
        row = await (await connection.execute(QUERIES["budget_take"], taking)).fetchone()

    assert row is not None
    assert row[0] == 3


async def test_every_request_needs_a_permit(http_bank: HttpBank, settings: IngestSettings, mirror: Mirror) -> None:
    """Pages and repeated attempts, too: the bank hears exactly as many as were let through."""
    wired = settings.model_copy(update={"bank_api_base_url": http_bank.url})
    gate = _Counting()
    failed: list[str] = []

    async def fail_once(path: str, number: int) -> Answer | None:
        if path == "/transactions/changes" and number == 2:
            failed.append(path)
            return problem(500, "internal")
        return None

    http_bank.fault = fail_once
    async with open_reader(wired, gate) as reader:
        desk = await mirror.open(reader)
        assert (await mirror.poll(desk)).outcome == "complete"

    assert failed
    assert gate.entered == sum(http_bank.requests.values()) >= 6


class _Counting:
    """A gate that lets everything through, and counts."""

    def __init__(self) -> None:
        self.entered = 0

    async def enter(self) -> None:
        self.entered += 1

    async def throttled(self, retry_after: timedelta | None) -> None:
        raise AssertionError("the bank has not said so")


# ── pauses ──────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def processes(settings: IngestSettings, pool: Pool, mirror: Mirror, number: int) -> AsyncIterator[list[Desk]]:
    """Desks with budgets and listeners of their own, as processes have them."""
    async with AsyncExitStack() as stack:
        desks = []
        for _ in range(number):
            budget = Budget(pool, "default", None)
            reader = await stack.enter_async_context(open_reader(settings, budget))
            desk = (await mirror.open(reader))._replace(budget=budget, settings=settings)
            hearing = Demands(pool, "default", 30, lambda: None)
            hears = asyncio.create_task(
                listen(conninfo(settings.database_url.get_secret_value(), INGEST), "default", hearing, budget)
            )
            stack.callback(hears.cancel)
            desks.append(desk)
        # Each has said LISTEN, and hears from then on.
        listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        async with asyncio.timeout(30):
            while (await mirror.ask(listening))[0][0] < number:  # noqa: ASYNC110  # Servers have no event for it.
                await asyncio.sleep(0.02)
        yield desks


@pytest.mark.parametrize("retry_after", ["120", "99999999", "-1875538"])
async def test_b3_t51_one_429_stops_every_process(
    retry_after: str, http_bank: HttpBank, settings: IngestSettings, pool: Pool, mirror: Mirror
) -> None:
    """The bank says it once; nobody claims, and a run that is under way elsewhere asks for no further page."""
    wired = settings.model_copy(update={"bank_api_base_url": http_bank.url})
    paging, go_on = asyncio.Event(), asyncio.Event()

    async def hold_second_page(path: str, number: int) -> Answer | None:
        if path == "/transactions/changes" and number == 2:
            paging.set()
            await go_on.wait()
        return problem(429, "rate-limited", **{"retry-after": retry_after}) if path == "/balances" else None

    async with processes(wired, pool, mirror, 2) as (one, two):
        http_bank.fault = hold_second_page
        other = asyncio.create_task(mirror.poll(two))
        await paging.wait()
        # Long enough for all, whatever the bank says: a negative pause is a second.
        throttled = await mirror.poll(one, "balances")
        if retry_after.startswith("-"):
            await mirror.owner.execute("UPDATE sync.budgets SET paused_until = now() + interval '60 s'")
            assert two.budget is not None
            two.budget.pause(60)
        async with asyncio.timeout(30):
            while two.budget is not None and two.budget._paused_until < asyncio.get_running_loop().time() + 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # Its listener hears it, and has no event for it.
        asked = dict(http_bank.requests)
        go_on.set()
        interrupted = await other

        assert (throttled.outcome, interrupted.outcome) == ("throttled", "throttled")
        assert await mirror.rows() == set(), "half of a pass is not stored"
        assert http_bank.requests == asked
        await mirror.owner.execute("UPDATE sync.targets SET due_at = '-infinity'")
        for desk in (one, two):
            assert not await store.claim(desk.pool, connection_id="default", holder="any", lease_seconds=9)

    (seconds,) = (
        await mirror.ask("SELECT extract(epoch FROM paused_until - clock_timestamp())::float8 FROM sync.budgets")
    )[0]
    assert seconds <= 86_400
    assert http_bank.requests["/balances"] == (3 if retry_after.startswith("-") else 1)


async def test_b3_an_errand_is_told_and_asks_nothing(
    http_bank: HttpBank, settings: IngestSettings, mirror: Mirror, bank: ModelBank
) -> None:
    """A person who polls by hand during a pause reads of it, and the bank hears nothing."""
    wired = settings.model_copy(update={"bank_api_base_url": http_bank.url})
    await once(wired, lambda progress: None)
    await mirror.owner.execute("UPDATE sync.budgets SET paused_until = now() + interval '1 h'")
    asked = dict(http_bank.requests)

    summary = await once(wired, lambda progress: None)

    assert not summary.ok
    assert "pause" in str(summary.feeds[0].error)
    assert http_bank.requests == asked


async def test_b3_without_a_time_the_pause_doubles(introduced: None, pool: Pool, mirror: Mirror) -> None:
    """One second, two, four: a bank that names no pause is left alone longer each time, by all together."""
    pauses = []
    for _ in range(4):
        await Budget(pool, "default", None).throttled(None)
        (row,) = await mirror.ask(
            "SELECT extract(epoch FROM paused_until - clock_timestamp())::float8 FROM sync.budgets"
        )
        pauses.append(row[0])
        # What the runs under way are told at the same moment counts once.
        await Budget(pool, "default", None).throttled(None)
        await mirror.owner.execute("UPDATE sync.budgets SET paused_until = clock_timestamp() - interval '1 s'")

    assert [round(pause + 0.3) for pause in pauses] == [1, 2, 4, 8]


async def test_a_short_pause_is_waited_for(introduced: None, pool: Pool) -> None:
    """A second is not worth a failed run."""
    budget = Budget(pool, "default", None)
    budget.pause(0.2)
    clock = asyncio.get_running_loop().time
    began = clock()

    await budget.enter()

    assert clock() - began >= 0.19


async def test_another_banks_pause_is_not_ours(introduced: None, pool: Pool, mirror: Mirror) -> None:
    """Other connections go on."""
    await mirror.owner.execute(
        "INSERT INTO sync.connections (connection_id, bank, bank_id, base_url, capabilities)"
        " VALUES ('other', 'generic', 'other', 'http://other', '{}')"
    )
    await mirror.owner.execute(
        "INSERT INTO sync.budgets (connection_id, paused_until) VALUES ('other', now() + interval '1 h')"
    )

    await Budget(pool, "default", 600).enter()
    await mirror.owner.execute("UPDATE sync.targets SET due_at = '-infinity'")
    assert await store.claim(pool, connection_id="default", holder="any", lease_seconds=9)
