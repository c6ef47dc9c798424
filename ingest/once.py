"""Runs with an end: every feed once, or until everything the bank has is in the mirror.

They share the work with a running scheduler through its leases: what another process holds is waited for, not
doubled.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from banks.ports import BankError, BankGone, BankRefusedCredentials
from ingest import store
from ingest.decide import DEFAULT_CONNECTION, Feed, MassDisappearance
from ingest.desk import open_desk
from ingest.poll import Desk, Polled, Progress, poll
from ingest.settings import IngestSettings
from ingest.store import TargetState
from ingest.verify_store import Proof, prove

# Seconds between two looks at a feed that another process holds.
LOOK_SECONDS = 0.5
# How often in a row a feed may fail before `backfill` gives it up and says so.
FAILURES_MAX = 5
# Feeds from which on the share that is done says something about the time that is left.
TARGETS_FOR_ETA = 10


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run with an end has come. `eta_seconds` is None where nobody can know: a delta feed tells no
    total.
    """

    feed: Feed
    account_id: str
    rows_seen: int
    rows_per_second: float
    targets_done: int
    targets_total: int
    elapsed_seconds: float
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class FeedOutcome:
    """How one feed ended; `error` says in plain words why it is not complete."""

    feed: Feed
    account_id: str
    outcome: str
    rows_seen: int
    rows_changed: int
    error: str | None
    # What `error` says, as it was raised, where the bank's side failed.
    cause: BankError | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """How all of it ended; the command's exit status is 0 only if `ok`.

    `was_complete`: all that the bank had was stored before this run began, which then read only what changed since.
    """

    feeds: Sequence[FeedOutcome]
    rows_seen: int
    rows_changed: int
    elapsed_seconds: float
    was_complete: bool
    # Of a backfill: that what is in the mirror now ties.
    proof: Proof | None = None

    @property
    def ok(self) -> bool:
        """Whether every feed was read to its end, and what it left ties."""
        if self.proof is not None and self.proof.days_untied:
            return False
        return bool(self.feeds) and all(feed.outcome == "complete" and feed.error is None for feed in self.feeds)


OnProgress = Callable[[RunProgress], None]


async def once(settings: IngestSettings, on_progress: OnProgress) -> Summary:
    """Poll every feed once, accounts first. Raises StartupError."""
    async with open_desk(settings, sets_pace=False) as desk:
        return await _Errand(desk, on_progress, until_complete=False).run()


async def backfill(settings: IngestSettings, on_progress: OnProgress) -> Summary:
    """Poll every feed until all that the bank has was stored once, or a feed keeps failing. What was stored before is
    not read again. Raises StartupError.
    """
    async with open_desk(settings, sets_pace=False) as desk:
        return await _Errand(desk, on_progress, until_complete=True).run()


async def poll_when_free(desk: Desk, feed: Feed, account_id: str) -> Polled:
    """One run of a feed; while another process holds it, wait. A parked feed is not asked."""
    while True:
        claims = await store.claim(
            desk.pool,
            connection_id=DEFAULT_CONNECTION,
            holder=desk.settings.worker,
            lease_seconds=desk.settings.lease_seconds,
            only=(feed, account_id),
        )
        if claims:
            return await poll(desk, claims[0])
        states = await store.targets(desk.pool, DEFAULT_CONNECTION)
        state = next((state for state in states if (state.feed, state.account_id) == (feed, account_id)), None)
        if state is None:
            return Polled(feed, account_id, "failed", error="the account is not mirrored")
        if state.parked_reason is not None:
            return Polled(feed, account_id, "complete" if state.complete else "failed", error=state.parked_reason)
        await asyncio.sleep(LOOK_SECONDS)


async def poll_to_end(desk: Desk, feed: Feed, account_id: str) -> Polled:
    """Poll a feed until it was read to its end, or a run of it failed."""
    while True:
        polled = await poll_when_free(desk, feed, account_id)
        if polled.outcome != "partial" or polled.error is not None:
            return polled


class _Errand:
    """One such run: its counters, and the feeds it is through with."""

    def __init__(self, desk: Desk, on_progress: OnProgress, *, until_complete: bool) -> None:
        self._desk = desk._replace(heard=self._hear)
        self._on_progress = on_progress
        self._until_complete = until_complete
        self._started = time.monotonic()
        self._outcomes: dict[tuple[Feed, str], FeedOutcome] = {}
        # Rows of finished runs, and of those under way, by feed and account.
        self._rows: dict[tuple[Feed, str], int] = {}
        self._rows_under_way: dict[tuple[Feed, str], int] = {}
        self._targets_total = 1

    async def run(self) -> Summary:
        """All feeds, `concurrency` at a time."""
        before = await self._polled_targets()
        await self._finish("accounts", "")
        # Listing the accounts made the targets of the other feeds.
        waiting = [target for target in await self._polled_targets() if target.feed != "accounts"]
        self._targets_total = 1 + len(waiting)
        slots = asyncio.Semaphore(self._desk.settings.concurrency)

        async def finish(target: TargetState) -> None:
            async with slots:
                await self._finish(target.feed, target.account_id)

        async with asyncio.TaskGroup() as group:
            for target in waiting:
                group.create_task(finish(target))
        await store.refresh_views(self._desk.pool)
        feeds = [self._outcomes[key] for key in sorted(self._outcomes)]
        return Summary(
            feeds=feeds,
            rows_seen=sum(feed.rows_seen for feed in feeds),
            rows_changed=sum(feed.rows_changed for feed in feeds),
            elapsed_seconds=time.monotonic() - self._started,
            was_complete=all(target.complete for target in before),
            proof=await prove(self._desk.pool) if self._until_complete else None,
        )

    async def _polled_targets(self) -> list[TargetState]:
        states = await store.targets(self._desk.pool, DEFAULT_CONNECTION)
        return [state for state in states if state.parked_reason is None]

    async def _finish(self, feed: Feed, account_id: str) -> None:
        """Poll one feed to its end."""
        changed = failures = 0
        while True:
            polled = await self._poll(feed, account_id)
            changed += polled.applied.rows_changed
            failures = 0 if polled.error is None else failures + 1
            if polled.outcome == "complete" or (polled.error and self._gives_up(polled.error, failures)):
                break
            if polled.error is not None:
                await asyncio.sleep(min(2.0**failures, 30.0))
        rows = self._rows.get((feed, account_id), 0)
        self._outcomes[feed, account_id] = FeedOutcome(
            feed, account_id, polled.outcome, rows, changed, polled.error, polled.cause
        )

    async def _poll(self, feed: Feed, account_id: str) -> Polled:
        """One run of a feed, counted."""
        polled = await poll_when_free(self._desk, feed, account_id)
        self._rows_under_way.pop((feed, account_id), None)
        self._rows[feed, account_id] = self._rows.get((feed, account_id), 0) + polled.applied.rows_seen
        return polled

    def _gives_up(self, error: str, failures: int) -> bool:
        lasting = error.startswith((BankRefusedCredentials.slug, BankGone.slug, MassDisappearance.slug))
        return lasting or not self._until_complete or failures >= FAILURES_MAX

    def _hear(self, progress: Progress) -> None:
        self._rows_under_way[progress.feed, progress.account_id] = progress.rows_seen
        elapsed = time.monotonic() - self._started
        done, total = len(self._outcomes), self._targets_total
        rows = sum(self._rows.values()) + sum(self._rows_under_way.values())
        self._on_progress(
            RunProgress(
                feed=progress.feed,
                account_id=progress.account_id,
                rows_seen=rows,
                rows_per_second=rows / elapsed if elapsed > 0 else 0.0,
                targets_done=done,
                targets_total=total,
                elapsed_seconds=elapsed,
                # Only many feeds of about the same size tell how long the rest will take.
                eta_seconds=elapsed / done * (total - done) if total >= TARGETS_FOR_ETA and done else None,
            )
        )
