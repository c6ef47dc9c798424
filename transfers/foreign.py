"""Say that there are transfers of another bank. They are left alone: only their own bank can finish them."""

import asyncio
from contextlib import suppress

import psycopg
import structlog

from kernel.database import Pool
from kernel.errors import Problem
from transfers import store
from transfers.metrics import Metrics

log = structlog.get_logger()

# Seconds between two looks, each of which may warn.
_LOOK_SECONDS = 60.0


async def watch_foreign(pool: Pool, bank: store.Bank, stopping: asyncio.Event, metrics: Metrics) -> None:
    """Count at the start and every minute what waits for another bank, and warn while there is any."""
    while not stopping.is_set():
        with suppress(psycopg.Error, Problem):
            count = await store.count_foreign(pool, bank)
            metrics.foreign.set(count)
            if count:
                log.warning(
                    "transfers of another bank are waiting and are neither sent nor asked for here",
                    count=count,
                    bank=bank.bank_id,
                    mend="run a transfers process with the BANK_API_BASE_URL or BANKMIRROR_BANK_ID of their bank",
                )
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await stopping.wait()
