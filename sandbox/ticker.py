"""Moves the bank's time and lets happen what happens in it, in whichever process holds the advisory lock."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg

from sandbox import clock, store
from sandbox.entries import account_of
from sandbox.life import Tick, changes_of, tick_of
from sandbox.settings import Settings
from sandbox.store import Connection, Ledger

log = logging.getLogger(__name__)

# Often enough that `as_of` is at most about a second old, seldom enough that an idle bank costs nothing.
TICK_SECONDS: Final = 1.0
# Longer steps are cut into bank days: what was held on one day must be able to settle on the next.
_STEP_MAX: Final = timedelta(days=1)
# How soon another process takes over when the one that lived is gone.
_CONTEND_SECONDS: Final = 2.0
_FORGET_EVERY_TICKS: Final = 600

Changed = Callable[[set[str]], None]


async def live(settings: Settings, changed: Changed) -> None:
    """Live until cancelled: through restarts of the database, and beside processes that live already."""
    while True:
        try:
            await _contend(settings, changed)
        except psycopg.Error as error:
            log.warning("life is interrupted, and goes on when the database is back: %s", error)
        await asyncio.sleep(_CONTEND_SECONDS)


async def _contend(settings: Settings, changed: Changed) -> None:
    # Life writes over the session that holds the lock: who loses the lock has lost its connection too.
    conn = await Connection.connect(settings.database_url, **store.connection_options())
    async with conn:
        if (await store.fetch_row(conn, "life_try_lead"))["leading"]:
            await _lead(conn, settings, changed)


async def _lead(conn: Connection, settings: Settings, changed: Changed) -> None:
    ledger = await store.get_ledger(conn)
    bank = clock.resume(ledger.bank_time, datetime.now(UTC), real=time.monotonic(), speed=settings.speed)
    log.info("the bank lives from %s on, at speed %g", ledger.bank_time.isoformat(), settings.speed)
    bank_time = ledger.bank_time
    while True:
        target = bank.now(time.monotonic())
        while bank_time < target:
            bank_time = min(target, bank_time + _STEP_MAX)
            if accounts := await step(conn, settings, bank_time):
                changed(accounts)
            await asyncio.sleep(0)
        await asyncio.sleep(TICK_SECONDS)


async def step(conn: Connection, settings: Settings, until: datetime) -> set[str]:
    """Move the bank's time to `until` and commit what happens on the way. Returns which accounts changed."""
    async with conn.transaction():
        ledger = await store.lock_ledger(conn)
        if until <= ledger.bank_time:
            return set()
        if not settings.life:
            await store.apply(conn, ledger, (), bank_time=until)
            return set()
        accounts = await store.get_living(conn)
        tick = _next_tick(settings, ledger, until, len(accounts))
        due = await store.get_due(conn, until)
        recent = await store.get_recent(conn, ledger.head)
        changes = changes_of(ledger.seed, tick, accounts, due, recent)
        await store.apply(conn, ledger, changes, bank_time=until, ticks=1)
        if tick.number % _FORGET_EVERY_TICKS == 0:
            await store.run(conn, "keys_forget", retention_seconds=settings.idempotency_retention_seconds)
    return {account_of(change) for change in changes}


def _next_tick(settings: Settings, ledger: Ledger, until: datetime, accounts: int) -> Tick:
    return tick_of(
        ledger.tick + 1, ledger.bank_time, until, accounts=accounts, speed=settings.speed,
        events_per_minute=settings.live_events_per_minute, real_seconds=TICK_SECONDS,
    )  # fmt: skip
