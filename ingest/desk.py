"""A bank and a database that know each other: what every run of ingest begins with, of the process and of a command.

Without the clockwork and the door for webhooks: a command that runs once need not wait for what they import.
"""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg

from banks.ports import BankReader
from banks.registry import open_reader
from ingest import decide, store
from ingest.budget import Budget
from ingest.decide import DEFAULT_CONNECTION
from ingest.identity import set_lapse_days
from ingest.pace import make_pace
from ingest.poll import Desk
from ingest.settings import IngestSettings
from kernel.database import INGEST, Pool, make_pool
from kernel.errors import StartupError
from kernel.settings import secret

# Seconds that a last word to the database may take; one that is away is not waited for.
CLOSE_SECONDS = 2.0
# Seconds that the database may take to let us in at the start.
CONNECT_SECONDS = 10.0


@asynccontextmanager
async def open_desk(settings: IngestSettings, *, sets_pace: bool) -> AsyncIterator[Desk]:
    """A bank and a database that know each other. Raises StartupError when they do not fit.

    Who stays sets the pace of the polls. Who is soon gone must not: another process keeps it.
    """
    # A poll holds a connection only while it stores; the rest are for the tick, the refresh, hints and failures.
    _spare_the_collector()
    pool = make_pool(secret(settings.database_url), INGEST, max_size=settings.concurrency + 5)
    budget = Budget(pool, DEFAULT_CONNECTION, settings.bank_requests_per_minute)
    async with open_reader(settings, budget) as bank:
        try:
            await _introduce(pool, bank, settings, sets_pace=sets_pace)
            await budget.learn()
            pace = make_pace(settings.poll_seconds, settings.poll_seconds_max) if sets_pace else None
            yield Desk(bank, pool, settings, budget=budget, pace=pace)
        finally:
            # What one pass has stored can be asked for as known from now on, though no process stays to say so.
            with suppress(psycopg.Error, TimeoutError):
                await asyncio.wait_for(store.move_clock(pool), CLOSE_SECONDS)
            await pool.close()


def _spare_the_collector() -> None:
    """A chunk is a hundred thousand objects without cycles: looking through them for some cost a backfill a fifth."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


async def _introduce(pool: Pool, bank: BankReader, settings: IngestSettings, *, sets_pace: bool) -> None:
    per_account = decide.feeds_per_account(bank.capabilities, settings.read_mode)
    try:
        await pool.open(wait=True, timeout=CONNECT_SECONDS)
        await store.register(
            pool,
            bank,
            settings.identity,
            DEFAULT_CONNECTION,
            per_account,
            settings.poll_seconds,
            sets_pace=sets_pace,
        )
        await set_lapse_days(pool, DEFAULT_CONNECTION, settings.lapse_days)
    except psycopg.OperationalError as error:
        raise StartupError(
            "the database does not let ingest in",
            "check DATABASE_URL and that PostgreSQL runs; bankmirror doctor names the reason",
        ) from error
    except psycopg.ProgrammingError as error:
        # A table, column or grant that is not there.
        raise StartupError("the database has no current schema", "run bankmirror migrate") from error
