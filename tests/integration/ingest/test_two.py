"""Several ingest processes on one database and one bank: they share the work and never do it twice.

`make test-two` runs it with two thousand accounts; by itself it takes two hundred.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.http_bank import HttpBank, serve_bank
from tests.integration.ingest.model_bank import ModelBank
from tests.integration.ingest.test_process import ingest
from tests.waiting import until

ACCOUNTS = int(os.environ.get("BANKMIRROR_TEST_ACCOUNTS", "200"))
# Seconds that a test may take: the bank's answers alone take a tenth of a second for each account.
LIMIT = 150 + ACCOUNTS // 2
# What the bank takes for a page: two processes wait for it at the same time, whatever the machine has to do besides.
PAGE_SECONDS = 0.05
INTERVAL_SECONDS = 2
ASK_FOR_ALL = b"""SELECT pg_notify('bankmirror_demand', '{"accounts": null, "max_age": 0}')"""


@pytest.fixture
async def http_bank(bank: ModelBank) -> AsyncIterator[HttpBank]:
    """Many accounts, each with a history that is listed by itself."""
    bank.page_rows = 500
    for number in range(ACCOUNTS - 2):
        bank.open_account(f"acct_{number:05}")
    for account_id in bank.accounts:
        bank.post(account_id, -1)
    async with serve_bank(bank) as serving:

        async def slowly(path: str, number: int) -> None:
            await asyncio.sleep(PAGE_SECONDS)

        serving.fault = slowly
        yield serving


async def synced(mirror: Mirror, times: int = 1) -> bool:
    """Whether every history was polled so often."""
    polled = (
        "SELECT count(*) FROM (SELECT FROM sync.runs WHERE feed = 'transactions' AND outcome = 'complete'"
        " GROUP BY account_id HAVING count(*) >= %s) AS target"
    )
    return bool((await mirror.ask(polled, times))[0][0] == ACCOUNTS)


async def work(
    processes: int, http_bank: HttpBank, database_url: str, mirror: Mirror, *, times: int, **settings: object
) -> None:
    """Let so many processes poll until every history was polled so often."""
    async with AsyncExitStack() as stack:
        for _ in range(processes):
            await stack.enter_async_context(ingest(http_bank, database_url, read_mode="listing", **settings))

        async def enough() -> bool:
            return await synced(mirror, times)

        await until(enough, seconds=LIMIT - 20)


@pytest.mark.seconds(LIMIT)
async def test_t31_no_target_is_polled_twice_in_its_interval(
    http_bank: HttpBank, bank: ModelBank, mirror: Mirror, database_url: str
) -> None:
    """Two processes go on for a while: each target is polled by one of them, an interval after its last time."""
    await work(2, http_bank, database_url, mirror, times=2, poll_seconds=INTERVAL_SECONDS)

    early = await mirror.ask(
        "SELECT * FROM (SELECT feed, account_id, started_at, started_at - lag(started_at) OVER target AS since"
        " FROM sync.runs WHERE outcome = 'complete'"
        " WINDOW target AS (PARTITION BY feed, account_id ORDER BY run_id)) AS run"
        " WHERE since < make_interval(secs => %s)",
        INTERVAL_SECONDS,
    )
    assert early == []
    # Not by leases alone: at no moment did two runs of one target overlap.
    assert await mirror.ask(
        "SELECT one.run_id, two.run_id FROM sync.runs AS one JOIN sync.runs AS two"
        " ON (two.feed, two.account_id) = (one.feed, one.account_id) AND two.run_id > one.run_id"
        " WHERE two.started_at < one.finished_at"
    ) == []  # fmt: skip
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


@pytest.mark.seconds(2 * LIMIT)
async def test_two_processes_are_no_slower_than_one(http_bank: HttpBank, mirror: Mirror, database_url: str) -> None:
    """The same polls, by one process and then by two, measured by the database from the first to the last."""
    spent = []
    for round_number, processes in enumerate((1, 2), start=1):
        await mirror.owner.execute("UPDATE sync.targets SET due_at = '-infinity'")
        ((last_run,),) = await mirror.ask("SELECT coalesce(max(run_id), 0) FROM sync.runs")
        await work(processes, http_bank, database_url, mirror, times=round_number, poll_seconds=3600)
        ((seconds,),) = await mirror.ask(
            "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM sync.runs"
            " WHERE feed = 'transactions' AND outcome = 'complete' AND run_id > %s",
            last_run,
        )
        spent.append(seconds)

    print(f"{ACCOUNTS} accounts: one process {spent[0]:.1f} s, two {spent[1]:.1f} s")
    assert spent[1] <= spent[0] * 1.25


@pytest.mark.seconds(LIMIT)
async def test_p6_one_of_two_sleeps_longer_than_its_leases(
    http_bank: HttpBank, bank: ModelBank, mirror: Mirror, database_url: str
) -> None:
    """Stopped with leases in its hands, it is replaced; when it goes on it is fenced, and the mirror is the bank."""
    held = asyncio.Event()

    async def hold(path: str, number: int) -> None:
        # The fourth account is answered only when its process sleeps, and so are all after it that it has asked for.
        if path == "/transactions" and number >= 4 and not held.is_set():
            await held.wait()

    http_bank.fault = hold
    async with ingest(http_bank, database_url, read_mode="listing", worker="sleeper", poll_seconds=3600) as sleeper:

        async def holds() -> bool:
            open_runs = "SELECT count(*) FROM sync.runs WHERE feed = 'transactions' AND outcome = 'running'"
            return bool((await mirror.ask(open_runs))[0][0] == 4)

        await until(holds)

        async def sleeps_outside_of_transactions() -> bool:
            # Stopped inside of one it would keep its locks for as long as the database lets it, a minute and a half.
            sleeper.send_signal(signal.SIGSTOP)
            inside = (
                "SELECT FROM pg_stat_activity WHERE application_name = 'bankmirror ingest'"
                " AND datname = current_database() AND state <> 'idle'"
            )
            if await mirror.ask(inside):
                sleeper.send_signal(signal.SIGCONT)
                return False
            return True

        await until(sleeps_outside_of_transactions)
        asleep = [run for (run,) in await mirror.ask("SELECT run_id FROM sync.runs WHERE outcome = 'running'")]
        held.set()
        async with ingest(http_bank, database_url, read_mode="listing", worker="heir", poll_seconds=3600):

            async def taken_over() -> bool:
                open_runs = "SELECT FROM sync.runs WHERE run_id = ANY (%s) AND outcome = 'running'"
                return await synced(mirror) and not await mirror.ask(open_runs, asleep)

            await until(taken_over, seconds=LIMIT - 60)
            for account_id in list(bank.accounts)[:8]:
                bank.post(account_id, -77)
            sleeper.send_signal(signal.SIGCONT)

            async def equal() -> bool:
                await mirror.owner.execute(ASK_FOR_ALL)
                return await mirror.rows() == bank.good_rows()

            await until(equal)
            by_sleeper = "SELECT FROM sync.targets WHERE lease_holder = 'sleeper' AND lease_until > now()"

            async def works_again() -> bool:
                await mirror.owner.execute(ASK_FOR_ALL)
                return bool(await mirror.ask(by_sleeper))

            await until(works_again)

    # What it held was given up for it, and it wrote nothing under those leases.
    outcomes = await mirror.ask("SELECT DISTINCT outcome FROM sync.runs WHERE run_id = ANY (%s)", asleep)
    assert outcomes == [("failed",)]
    await mirror.check()
