"""kill -9 of real processes at each named point, and at any other: afterwards `bankmirror verify` finds nothing.

A process is held at its point by what is outside of it: a page of the bank that does not come, a lock in the database.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ingest.scheduler import WEDGED_EXIT_CODE
from tests.acceptance.system import COMMAND, environment
from tests.conftest import Connect
from tests.integration.ingest.http_bank import HttpBank, serve_bank
from tests.integration.ingest.model_bank import ModelBank
from tests.waiting import PATIENCE, until

FEED = "/transactions/changes"
ROWS = 600
KILLS = int(os.environ.get("BANKMIRROR_TEST_KILLS", "3"))
# An ingest process whose event loop a signal can wedge: it is asleep in the one thread that everything runs in.
WEDGEABLE = """
import asyncio, signal, time
import ingest.app
from ingest.settings import IngestSettings
ingest.app.WEDGED_SECONDS = 1.5
signal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))
asyncio.run(ingest.app.serve(IngestSettings(_env_file=None)))
"""


class Site:
    """A bank over HTTP, a database, and processes between them."""

    def __init__(self, home: Path, database_url: str, bank: HttpBank, owner: AsyncConnection[TupleRow]) -> None:
        self.home = home
        self.bank = bank
        self.owner = owner
        self._told = {
            "DATABASE_URL": database_url,
            "BANK_API_BASE_URL": bank.url,
            "BANK_API_KEY": "any",
            "BANKMIRROR_MODE": "sandbox",
            "BANKMIRROR_POLL_SECONDS": "0.5",
            "BANKMIRROR_LEASE_SECONDS": "3",
            "BANKMIRROR_REFRESH_SECONDS": "0.2",
            "BANKMIRROR_BACKFILL_CHUNK_ROWS": "100",
        }
        # The pages of the feed from this one on are kept back until the gate opens.
        self.hold_from: int | None = None
        self.gate = asyncio.Event()
        self.held = asyncio.Event()
        bank.fault = self._keep_back

    async def _keep_back(self, path: str, number: int) -> None:
        if self.hold_from is not None and path == FEED and number >= self.hold_from:
            self.held.set()
            await self.gate.wait()

    def open_gate(self) -> None:
        """Let the pages go."""
        self.hold_from = None
        self.gate.set()

    @asynccontextmanager
    async def process(self, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command of ours, killed at the end of the block if it still runs; ingest if none is named."""
        with (self.home / "process.log").open("a") as log:
            process = await asyncio.create_subprocess_exec(
                *(command or (*COMMAND, "ingest")),
                cwd=self.home,
                env=environment(self.home, **self._told),
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def run(self, *arguments: str) -> tuple[int, str]:
        """A command of ours to its end; its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            cwd=self.home,
            env=environment(self.home, **self._told),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def ask(self, query: str) -> Any:
        """The first column of the first row."""
        row = await (await self.owner.execute(query.encode())).fetchone()
        return row[0] if row else None

    async def was_fenced(self) -> bool:
        """Whether a process said so. Its run was closed by the one that took over."""
        return "outcome=fenced" in (text := (self.home / "process.log").read_text()) or '"fenced"' in text

    async def insist_on_equality(self) -> None:
        """The next process goes on where the dead one was, once its leases are over, and `verify` finds nothing."""
        code, printed = await self.run("verify")
        assert code == 0, printed
        assert f"equal: {len(self.bank.bank.rows):,} transactions" in printed, printed
        assert await self.ask("SELECT count(*) FROM snapshot.transactions") == len(self.bank.bank.rows)


_CAUGHT_UP = (
    "SELECT bool_and(complete AND checkpoint IS NULL) FROM sync.targets"
    " WHERE feed = 'transactions' AND in_use HAVING count(*) > 0"
)


@pytest.fixture
async def site(bankmirror_home: Path, database_url: str, connect: Connect) -> AsyncIterator[Site]:
    """A bank with some history."""
    books = ModelBank(page_rows=50)
    books.open_account("acct_a")
    books.open_account("acct_b", currency="JPY")
    for number in range(ROWS):
        books.post("acct_a" if number % 3 else "acct_b", -number - 1)
    async with serve_bank(books) as bank:
        site = Site(bankmirror_home, database_url, bank, await connect())
        yield site
        site.open_gate()


async def kill(process: asyncio.subprocess.Process) -> None:
    """kill -9."""
    process.kill()
    await process.wait()


async def test_p4_killed_after_the_fetch_before_the_commit(site: Site, connect: Connect) -> None:
    """It has the rows, its transaction is open and waits for a lock: nothing of it is left, and nothing is lost."""
    site.hold_from = 1
    locker = await connect(autocommit=False)
    async with site.process() as process:
        await asyncio.wait_for(site.held.wait(), PATIENCE)
        await locker.execute("SELECT FROM sync.targets WHERE feed = 'transactions' FOR UPDATE")
        site.open_gate()
        await until(lambda: site.ask(_WAITS_FOR_LOCK))
        await kill(process)
    await locker.rollback()

    assert await site.ask("SELECT count(*) FROM snapshot.transactions") == 0
    assert await site.ask("SELECT cursor FROM sync.targets WHERE feed = 'transactions'") is None
    await site.insist_on_equality()


_WAITS_FOR_LOCK = (
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'bankmirror ingest'"
    " AND datname = current_database() AND wait_event_type = 'Lock'"
)


async def test_p5_killed_after_the_commit_before_the_refresh(site: Site, connect: Connect) -> None:
    """The rows are there, the view is old and says so; the next process refreshes it."""
    locker = await connect(autocommit=False)
    await locker.execute("SELECT FROM read.refresh_turn FOR UPDATE")
    async with site.process() as process:
        await until(lambda: site.ask("SELECT count(*) = 600 FROM snapshot.transactions"))
        await kill(process)

    assert await site.ask("SELECT count(*) FROM read.daily_cash_flow_stored") == 0
    assert await site.ask("SELECT changes_waiting_since IS NOT NULL FROM read.view_freshness")
    await locker.rollback()
    async with site.process():
        await until(lambda: site.ask("SELECT sum(entries) = 600 FROM read.daily_cash_flow_stored"))
        await until(lambda: site.ask("SELECT changes_waiting_since IS NULL FROM read.view_freshness"))
    await site.insist_on_equality()


async def test_p6_stopped_between_fetch_and_commit_for_longer_than_its_lease(site: Site) -> None:
    """It wakes up with old rows in its hands, and another process has been here: it is fenced, on record."""
    site.hold_from = 1
    async with site.process() as sleeper:
        await asyncio.wait_for(site.held.wait(), PATIENCE)
        sleeper.send_signal(signal.SIGSTOP)
        # What it will read when it wakes up is this page, as it is now.
        site.open_gate()
        async with site.process():
            await until(lambda: site.ask(_CAUGHT_UP))
            site.bank.bank.change("acct_a", "txn_000002", amount_cents=-123_456)
            sleeper.send_signal(signal.SIGCONT)
            await until(site.was_fenced)
            await until(lambda: site.ask("SELECT count(*) = 1 FROM snapshot.transactions WHERE amount_minor = -123456"))
    await site.insist_on_equality()


async def test_p8_wedged(site: Site) -> None:
    """Its event loop runs nothing any more, in the middle of a poll: it ends itself, and the next one goes on."""
    site.hold_from = 3
    async with site.process(sys.executable, "-P", "-c", WEDGEABLE) as process:
        await asyncio.wait_for(site.held.wait(), PATIENCE)
        process.send_signal(signal.SIGUSR1)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == WEDGED_EXIT_CODE
    site.open_gate()

    await site.insist_on_equality()


async def test_t15_killed_backfill_resumes_and_proves_itself(site: Site) -> None:
    """kill -9 of `bankmirror backfill` half way: the next one reads only the rest, and every day ties."""
    site.hold_from = 8
    async with site.process(*COMMAND, "backfill") as process:
        await asyncio.wait_for(site.held.wait(), PATIENCE)
        await until(lambda: site.ask("SELECT count(*) >= 300 FROM snapshot.transactions"))
        await kill(process)
    before = site.bank.requests[FEED]
    site.open_gate()

    code, printed = await site.run("backfill")

    assert code == 0, printed
    assert site.bank.requests[FEED] - before <= 7, "it began anew"
    assert "✓ in the mirror: 600 transactions of 2 accounts, Σ " in printed
    assert "each of 2 account-days ties" in printed
    await site.insist_on_equality()


@pytest.mark.seconds(60 + KILLS * 30)
async def test_i19_killed_at_any_moment(site: Site) -> None:
    """kill -9 again and again, at moments that chance chooses, while the bank changes its books."""
    dice = random.Random(7)
    books = site.bank.bank
    for _ in range(KILLS):
        async with site.process() as process:
            await until(lambda: site.ask(_POLLED_SINCE_START))
            for _ in range(dice.randint(1, 30)):
                change_something(books, dice)
                await asyncio.sleep(0.01)
            await kill(process)
        await site.owner.execute("UPDATE sync.runs SET error = 'seen' WHERE error IS DISTINCT FROM 'seen'")
    await site.insist_on_equality()


_POLLED_SINCE_START = "SELECT count(*) > 0 FROM sync.runs WHERE error IS DISTINCT FROM 'seen'"


def change_something(books: ModelBank, dice: random.Random) -> None:
    """What a bank does."""
    account_id, transaction_id = dice.choice(list(books.rows))
    match dice.randrange(4):
        case 0:
            books.remove(account_id, transaction_id)
        case 1:
            books.change(account_id, transaction_id, amount_cents=dice.randint(-9_999, 9_999))
        case _:
            for _ in range(dice.randint(1, 60)):
                books.post(account_id, -dice.randint(1, 500))
