"""Real ingest processes: killed, stopped, asleep, wedged."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ingest.scheduler import WEDGED_EXIT_CODE
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.http_bank import HttpBank, serve_bank
from tests.integration.ingest.model_bank import ModelBank
from tests.waiting import PATIENCE, until

SERVE = """
import asyncio
from ingest.app import serve
from ingest.settings import IngestSettings
asyncio.run(serve(IngestSettings(_env_file=None)))
"""


@pytest.fixture
async def http_bank(bank: ModelBank) -> AsyncIterator[HttpBank]:
    """A bank that takes ten milliseconds a page."""
    async with serve_bank(bank) as serving:

        async def slowly(path: str, number: int) -> None:
            await asyncio.sleep(0.01)

        serving.fault = slowly
        yield serving


@asynccontextmanager
async def ingest(
    http_bank: HttpBank, database_url: str, **settings: object
) -> AsyncIterator[asyncio.subprocess.Process]:
    """An ingest process."""
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "BANK_API_BASE_URL": http_bank.url,
        "BANK_API_KEY": "any",
        "BANKMIRROR_POLL_SECONDS": "0.5",
        "BANKMIRROR_LEASE_SECONDS": "3",
        **{f"BANKMIRROR_{name.upper()}": str(value) for name, value in settings.items()},
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVE, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Gate:
    """A fault that keeps the pages of the feed after some of them, so that `half way` lasts until it is opened."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.opened = asyncio.Event()

    async def __call__(self, path: str, number: int) -> None:
        await asyncio.sleep(0.01)
        if path == "/transactions/changes" and number > self.pages:
            await self.opened.wait()


async def test_t15_p4_kill_9_in_a_backfill(
    bank: ModelBank, http_bank: HttpBank, mirror: Mirror, database_url: str
) -> None:
    """Killed in the middle of a backfill; the next process resumes, and the mirror is the bank."""
    bank.page_rows = 50
    for number in range(3_000):
        bank.post("acct_a", -number - 1)

    async def half_way() -> bool:
        return bool(await mirror.ask("SELECT FROM sync.targets WHERE checkpoint IS NOT NULL"))

    async def complete() -> bool:
        return bool(await mirror.ask("SELECT FROM sync.targets WHERE feed = 'transactions' AND complete"))

    for pages in (20, 40):
        http_bank.fault = Gate(pages)
        async with ingest(http_bank, database_url, backfill_chunk_rows=200) as process:
            await until(half_way)
            process.kill()
            await process.wait()
        assert 0 < len(await mirror.rows()) < 3_000
        await mirror.check()
        bank.post("acct_b", 1)
    http_bank.fault = Gate(1_000)
    pages_before = http_bank.requests["/transactions/changes"]
    async with ingest(http_bank, database_url, backfill_chunk_rows=200):
        await until(complete)

    assert await mirror.rows() == bank.good_rows()
    assert http_bank.requests["/transactions/changes"] - pages_before < 60, "it began anew"
    await mirror.check()


async def test_sigterm_drains_and_frees(
    bank: ModelBank, http_bank: HttpBank, mirror: Mirror, database_url: str
) -> None:
    """Asked to end, it ends within its grace, with exit code 0 and every lease given back."""
    bank.post("acct_a", -1)

    async def polled() -> bool:
        return bool(await mirror.rows())

    hangs = asyncio.Event()

    async def hang(path: str, number: int) -> None:
        if number > 3 and path == "/balances":
            hangs.set()
            await asyncio.sleep(3600)

    http_bank.fault = hang
    async with ingest(http_bank, database_url, drain_seconds=0.2) as process:
        await until(polled)
        await hangs.wait()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0

    assert await mirror.ask("SELECT * FROM sync.targets WHERE lease_holder IS NOT NULL") == []
    assert await mirror.ask("SELECT * FROM sync.runs WHERE outcome = 'running'") == []


async def test_p6_sigstop_longer_than_the_lease(
    bank: ModelBank, http_bank: HttpBank, mirror: Mirror, database_url: str
) -> None:
    """A process that sleeps longer than its lease is replaced, and corrupts nothing when it wakes up."""
    bank.page_rows = 20
    for number in range(2_000):
        bank.post("acct_a", -number - 1)

    async def half_way() -> bool:
        return bool(await mirror.ask("SELECT FROM sync.targets WHERE checkpoint IS NOT NULL"))

    async def complete() -> bool:
        return bool(await mirror.ask("SELECT FROM sync.targets WHERE feed = 'transactions' AND complete"))

    http_bank.fault = gate = Gate(30)
    async with ingest(http_bank, database_url, backfill_chunk_rows=100) as sleeper:
        await until(half_way)

        async def asleep() -> bool:
            # Not in a transaction: that would keep its locks, and the others wait until the database ends it.
            sleeper.send_signal(signal.SIGSTOP)
            at_work = await mirror.ask(
                "SELECT FROM pg_stat_activity WHERE application_name = 'bankmirror ingest' AND state <> 'idle'"
                " AND datname = current_database()"
            )
            if at_work:
                sleeper.send_signal(signal.SIGCONT)
            return not at_work

        await until(asleep)
        gate.opened.set()
        async with ingest(http_bank, database_url, backfill_chunk_rows=100):
            await until(complete)
            sleeper.send_signal(signal.SIGCONT)
            bank.change("acct_a", "txn_000001", amount_cents=-123_456)
            # Nothing is waited for: it is given time to do harm.
            await asyncio.sleep(2)

            async def equal() -> bool:
                return await mirror.rows() == bank.good_rows()

            await until(equal)
    await mirror.check()


async def test_p8_a_wedged_loop_ends_the_process() -> None:
    """When nothing ticks any more the watchdog ends the process, with an exit code of its own."""
    wedged = (
        "import time\n"
        "from ingest.scheduler import Watchdog, end_process\n"
        "Watchdog(0.5, end_process).start()\n"
        "time.sleep(600)\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", wedged)

    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == WEDGED_EXIT_CODE


async def test_a_database_that_hangs_up_does_not_end_the_process(
    bank: ModelBank, http_bank: HttpBank, mirror: Mirror, database_url: str
) -> None:
    """D1: every connection is cut under it, and it goes on by itself."""
    bank.post("acct_a", -1)

    async def equal() -> bool:
        return await mirror.rows() == bank.good_rows()

    async with ingest(http_bank, database_url) as process:
        await until(equal)
        for _ in range(3):
            await mirror.ask(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'bankmirror ingest' AND datname = current_database()"
            )
            await asyncio.sleep(0.2)
        bank.post("acct_a", -2)
        await until(equal)
        assert process.returncode is None
