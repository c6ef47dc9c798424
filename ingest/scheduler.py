"""The clockwork: APScheduler ticks, each tick claims what is due, and a watchdog ends the process if ticks
stop.

The scheduler only starts work; it never owns it. A poll is a task of ours with a deadline of its own, because
APScheduler cancels what it runs when it shuts down, and skips a job for ever once it hangs.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC
from typing import Any

import psycopg
import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.executors.asyncio import AsyncIOExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from ingest import metrics, store, webhooks
from ingest.poll import Desk, poll
from ingest.store import Kind
from ingest.sweep import sweep
from kernel.errors import BankmirrorError

log = structlog.get_logger()

# Seconds between two looks for due targets: short against any interval, and one cheap query.
TICK_SECONDS = 0.5
# Seconds that a tick may take. A database that hangs is not a scheduler that hangs.
TICK_LIMIT_SECONDS = 10.0
# Seconds without a tick after which the process is of no use: three ticks, each as slow as it may be.
WEDGED_SECONDS = 3 * TICK_LIMIT_SECONDS
# What the process ends with then; EX_TEMPFAIL, which a supervisor answers with a restart.
WEDGED_EXIT_CODE = 75
# Seconds between two marks of how far the mirror is kept: an answer as known at a moment waits for the next one.
CLOCK_SECONDS = 1.0
# Seconds between two rounds of forgetting old runs: each hour brings a few thousand at most.
PRUNE_SECONDS = 3600.0
# Polls of accounts and balances that this process can always begin, whatever the histories do.
LISTING_SLOTS = 1
# A refresh may use this share of the time at most, so that a large view does not keep the database busy for
# ever.
REFRESH_SHARE_MAX = 0.2


class Watchdog:
    """Ends the process when nobody has reported for a while. A thread, because a wedged event loop runs
    nothing else.
    """

    def __init__(self, limit_seconds: float, give_up: Callable[[], None]) -> None:
        self._limit_seconds = limit_seconds
        self._give_up = give_up
        self._stopped = threading.Event()
        # Monotonic: a clock that is set must neither end the process nor keep it.
        self._seen = time.monotonic()

    def report(self) -> None:
        """Say that work goes on."""
        self._seen = time.monotonic()

    def start(self) -> None:
        """Begin to watch."""
        self.report()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        pause = self._limit_seconds / 10
        looked = time.monotonic()
        while not self._stopped.wait(pause):
            now = time.monotonic()
            if now - looked > self._limit_seconds / 2:
                # We were asleep ourselves, stopped like the rest of the process: nobody could have reported.
                self.report()
            elif now - self._seen > self._limit_seconds:
                self._give_up()
                return
            looked = now


def end_process() -> None:
    """End at once: a wedged loop runs no clean-up, and the leases end by themselves."""
    log.critical("no tick for too long, the process ends", limit_seconds=WEDGED_SECONDS, exit_code=WEDGED_EXIT_CODE)
    os._exit(WEDGED_EXIT_CODE)


class Clockwork:
    """Polls what is due, refreshes the views, and drains when it is stopped."""

    def __init__(self, desk: Desk, connection_id: str, watchdog: Watchdog) -> None:
        self._desk = desk
        self._connection_id = connection_id
        self._watchdog = watchdog
        # Polls under way, by the kind of slot that they hold.
        self._polls: dict[Kind, set[asyncio.Task[None]]] = {"listings": set(), "transactions": set()}
        self._looking: asyncio.Task[None] | None = None
        self._draining = False
        self._claiming = asyncio.Lock()
        self._next_refresh = 0.0
        self._scheduler = AsyncIOScheduler(
            jobstores={"default": MemoryJobStore()},
            executors={"default": AsyncIOExecutor()},
            # None: a tick that is late is still wanted. One at a time, and missed ones are made up for by
            # one.
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
            timezone=UTC,
        )
        self._scheduler.add_listener(_heard, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)

    def start(self) -> None:
        """Begin to tick."""
        self._every("tick", TICK_SECONDS, self._tick)
        self._every("refresh", self._desk.settings.refresh_seconds, self._refresh)
        self._every("prune", PRUNE_SECONDS, self._prune)
        self._every("clock", CLOCK_SECONDS, self._move_clock)
        self._scheduler.start()
        self._watchdog.start()

    def _every(self, name: str, seconds: float, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._scheduler.add_job(job, "interval", seconds=seconds, id=name, name=name)

    async def stop(self, grace_seconds: float) -> None:
        """Claim nothing more, give running polls a moment, then cancel them; each gives its lease back."""
        self._draining = True
        self._watchdog.stop()
        self._scheduler.pause()
        # The scheduler's own shutdown cancels what it runs. A tick that is cancelled has claimed targets for
        # nobody.
        async with self._claiming:
            self._scheduler.shutdown(wait=False)
        if self._looking is not None:
            await self._looking
        if polls := self._polls["listings"] | self._polls["transactions"]:
            _, late = await asyncio.wait(polls, timeout=grace_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _tick(self) -> None:
        await self._try_to_start()
        # A tick that failed is still a tick: the database's absence does not end the process.
        self._watchdog.report()

    async def _try_to_start(self) -> None:
        try:
            async with asyncio.timeout(TICK_LIMIT_SECONDS), self._claiming:
                await self._start_due()
        except (psycopg.OperationalError, TimeoutError, BankmirrorError) as error:
            log.warning("no targets could be claimed", error=type(error).__name__)

    def look(self) -> None:
        """Look for due targets now, as somebody has just asked for some, and not at the next tick."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._try_to_start())

    async def _start_due(self) -> None:
        """Fill the free slots, each with what it is there for.

        Accounts and balances have a slot of their own, since two thousand histories that are due must not keep
        the balances waiting. In the others they come second: where a bank has no bulk balances there are as many of
        them as of histories, and neither may starve the other.
        """
        slots: dict[Kind, int] = {"listings": LISTING_SLOTS, "transactions": self._desk.settings.concurrency}
        for slot, size in slots.items():
            free = size - len(self._polls[slot])
            if self._draining or free <= 0:
                continue
            for claim in await self._claim(slot, free):
                task = asyncio.create_task(self._work(slot, claim))
                self._polls[slot].add(task)
                task.add_done_callback(self._polls[slot].discard)

    async def _work(self, slot: Kind, claim: store.Claim) -> None:
        """Poll, then go on with whatever else is due: a thousand accounts cannot wait for as many ticks."""
        claims = [claim]
        while claims:
            polled = await poll(self._desk, claims[0])
            if polled.feed == "transactions" and polled.outcome == "complete" and not self._draining:
                await sweep(self._desk, claims[0])
            try:
                claims = [] if self._draining else await self._claim(slot, 1)
            except psycopg.OperationalError:
                return

    async def _claim(self, slot: Kind, targets_max: int) -> list[store.Claim]:
        settings, budget = self._desk.settings, self._desk.budget
        kinds: tuple[Kind, ...] = ("listings",) if slot == "listings" else ("transactions", "listings")
        # Who would only wait for a permit holds a lease for nothing.
        kinds = tuple(kind for kind in kinds if budget is None or not budget.is_short(kind))
        return await store.claim(
            self._desk.pool,
            connection_id=self._connection_id,
            holder=settings.worker,
            lease_seconds=settings.lease_seconds,
            targets_max=targets_max,
            kinds=kinds,
        )

    async def _refresh(self) -> None:
        clock = asyncio.get_running_loop().time
        if self._draining or clock() < self._next_refresh:
            return
        started = clock()
        try:
            if await store.refresh_views(self._desk.pool):
                metrics.REFRESHES.inc()
                log.debug("views refreshed", seconds=round(clock() - started, 3))
            metrics.QUARANTINE_OPEN.set(await store.quarantine_open(self._desk.pool, self._connection_id))
        except psycopg.Error as error:
            # The views keep their old contents and say so; the next round tries again.
            log.warning("views not refreshed", error=type(error).__name__, sqlstate=error.sqlstate)
        self._next_refresh = clock() + (clock() - started) * (1 / REFRESH_SHARE_MAX - 1)

    async def _move_clock(self) -> None:
        # A database that is away is said by the tick.
        with suppress(psycopg.Error):
            await store.move_clock(self._desk.pool)

    async def _prune(self) -> None:
        try:
            log.debug("old runs forgotten", runs=await store.prune_runs(self._desk.pool))
            await store.prune_webhooks(self._desk.pool, webhooks.KEEP_SECONDS)
        except psycopg.Error as error:
            log.warning("old runs not forgotten", error=type(error).__name__, sqlstate=error.sqlstate)


def _heard(event: JobEvent) -> None:
    """APScheduler only logs these, at a level that is easily missed; a job that stopped is the worst kind of
    silence.
    """
    metrics.JOBS_MISSED.labels(event.job_id).inc()
    error = getattr(event, "exception", None)
    log.warning("scheduler job did not run", job=event.job_id, code=event.code, error=type(error).__name__)
