"""Settle what the mirror shows as posted. The bank's answers to us never settle anything."""

import asyncio
from contextlib import suppress

import psycopg
import structlog

from kernel.database import Pool
from kernel.errors import Problem
from transfers import store
from transfers.metrics import Metrics
from transfers.states import State

log = structlog.get_logger()

# Rows of one transaction: it holds the head of the audit chain, for which everyone else waits.
_BATCH = 50


async def settle_mirrored(
    pool: Pool, interval_seconds: float, wake: asyncio.Event, stopping: asyncio.Event, metrics: Metrics
) -> None:
    """Settle whenever the mirror changed, and now and then, until told to stop."""
    while not stopping.is_set():
        wake.clear()
        try:
            settled = await store.settle(pool, _BATCH)
        except (psycopg.Error, Problem) as error:
            log.warning("cannot settle transfers", error=type(error).__name__)
            settled = 0
        metrics.moves.labels(State.SETTLED).inc(settled)
        if settled == _BATCH:
            continue
        with suppress(TimeoutError):
            async with asyncio.timeout(interval_seconds):
                await wake.wait()
