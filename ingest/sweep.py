"""The sweep: everything is read again, slowly, to find what a bank changed or removed without telling.

It goes on in stretches, each after a poll of the same target and under a lease of its own, so that no poll waits long
for it and none runs beside it: what it reads is never older than what is mirrored. A delta feed is read from its start;
an account that is listed, by slices of days. How far it has come is committed with what it found, so a process that
dies costs it nothing. Answers stay as they are meanwhile.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from math import inf

import psycopg
import structlog
from psycopg.rows import class_row

from banks.ports import BankError, BankThrottled, CursorExpired, MutatedDuringPagination, Window
from ingest import breaker, decide, store
from ingest.absence import note_ahead
from ingest.advance import Applied, keep_refused, notify_changed
from ingest.apply import move_rows
from ingest.decide import Changeset
from ingest.fetch import Pass, change_chunks, listing_chunks
from ingest.identity import IdsSwitched, PositionalIds, flag_positions
from ingest.poll import RUN_GRACE_SECONDS, Desk, keep_lease
from ingest.store import QUERIES, Claim, FencedError, Outcome, fetch_row, hold_lease, run_query
from kernel.database import Pool

log = structlog.get_logger()

# A stretch takes at most this share of the time between two polls: the polls of a feed come first.
SHARE_MAX = 0.25
# Seconds. A feed that is polled once a day must not hold one of few slots for hours.
STRETCH_SECONDS_MAX = 10.0
# Rows of a slice that are stored as a whole, several times what one is meant to have. Between two transactions of one
# slice, an entry that has a new id would be shown twice. More than this takes too much memory, and no day has it.
SLICE_ROWS_MAX = 200_000

# Where a sweep goes on, as the columns of sync.sweeps; None once it is through.
Following = dict[str, object] | None


@dataclass(frozen=True, slots=True)
class _Sweep:
    """How the sweep of a target stands: the run in which the one under way began, and where it goes on."""

    run_id: int | None
    cursor: str | None
    next_day: date | None
    is_due: bool


async def sweep(desk: Desk, polled: Claim) -> None:
    """Go on with the sweep of a target that was just polled, if one is due. Raises nothing but cancellation."""
    interval = _interval(desk)
    if interval is None:
        return
    with suppress(psycopg.Error):
        if not (await _state(desk, polled, interval)).is_due:
            return
        claims = await store.claim(
            desk.pool,
            connection_id=polled.connection_id,
            holder=desk.settings.worker,
            lease_seconds=desk.settings.lease_seconds,
            only=("transactions", polled.account_id),
        )
        for claim in claims:
            renewing = asyncio.create_task(keep_lease(desk, claim))
            try:
                await _sweep_safely(desk, claim, interval)
            finally:
                renewing.cancel()


async def hasten(pool: Pool, connection_id: str) -> int:
    """Make the sweeps of all feeds of a connection due, and a poll of each, which they follow; returns how many."""
    async with pool.connection() as connection:
        return await run_query(connection, "sweep_hasten", {"connection_id": connection_id, "account_id": None})


def _interval(desk: Desk) -> timedelta | None:
    by_changes = decide.reads_changes(desk.bank.capabilities, desk.settings.read_mode)
    return decide.sweep_interval(desk.settings.sweep_hours, by_changes=by_changes)


async def _sweep_safely(desk: Desk, claim: Claim, interval: timedelta) -> None:
    outcome: Outcome = "partial"
    told: str | None = None
    gives_up = False
    try:
        async with asyncio.timeout(desk.settings.run_deadline_seconds + RUN_GRACE_SECONDS):
            await _stretch(desk, claim, interval)
    except FencedError:
        await store.record_fenced(desk.pool, claim)
        return
    except BankError as error:
        outcome = "throttled" if isinstance(error, BankThrottled) else "failed"
        told = str(error)
        # Pages of before and after a change do not fit together, and neither do those around a lost cursor.
        gives_up = isinstance(error, MutatedDuringPagination | CursorExpired)
        if isinstance(error, IdsSwitched):
            # The polls read everything themselves now, and until they are through answers say so.
            await store.restart_pass(desk.pool, claim)
        if isinstance(error, PositionalIds):
            await flag_positions(desk.pool, claim, error)
    except TimeoutError:
        outcome, told = "failed", "a stretch of the sweep took too long"
    except asyncio.CancelledError:
        await asyncio.shield(_end(desk, claim, "failed", "the process was asked to end", None))
        raise
    except Exception as error:
        log.exception("a sweep failed in an unforeseen way", run_id=claim.run_id)
        outcome, told = "failed", type(error).__name__
    await _end(desk, claim, outcome, told, interval if gives_up else None)


async def _end(desk: Desk, claim: Claim, outcome: Outcome, error: str | None, gives_up: timedelta | None) -> None:
    """Give the target back as it was polled; a sweep is no poll, whatever became of it."""
    async with desk.pool.connection() as connection:
        released = {**claim.key, "reason": error, "pauses": False}
        await connection.execute(QUERIES["target_release"], released)
        await connection.execute(QUERIES["run_end"], {"run_id": claim.run_id, "outcome": outcome, "error": error})
        if gives_up is not None:
            await run_query(connection, "sweep_end", _ending(claim, gives_up, error))
        elif error is not None:
            await run_query(connection, "sweep_pause", {**claim.key, "error": error})
    if error is not None:
        log.info("a sweep was interrupted", account=claim.account_id or None, run_id=claim.run_id, error=error)


def _ending(claim: Claim, interval: timedelta, error: str | None) -> dict[str, object]:
    return {**claim.key, "interval_seconds": interval / timedelta(seconds=1), "error": error}


async def _state(desk: Desk, claim: Claim, interval: timedelta) -> _Sweep:
    async with desk.pool.connection() as connection, connection.cursor(row_factory=class_row(_Sweep)) as cursor:
        await cursor.execute(QUERIES["sweep_get"], {**claim.key, "interval_seconds": interval / timedelta(seconds=1)})
        found = await cursor.fetchone()
        assert found is not None
        return found


async def _stretch(desk: Desk, claim: Claim, interval: timedelta) -> None:
    by_changes = decide.reads_changes(desk.bank.capabilities, desk.settings.read_mode)
    # A first reading, and one after a lost cursor, shows everything itself.
    if not claim.complete or claim.checkpoint is not None or (by_changes and claim.cursor is None):
        return
    state = await _state(desk, claim, interval)
    if not state.is_due:
        return
    seconds = min(STRETCH_SECONDS_MAX, SHARE_MAX * desk.settings.poll_seconds)
    until = asyncio.get_running_loop().time() + seconds
    if state.run_id is None:
        await _begin(desk, claim, None if by_changes else decide.HISTORY_BEGINS)
        state = await _state(desk, claim, interval)
    if by_changes:
        await _sweep_changes(desk, claim, state, interval, until)
    else:
        await _sweep_days(desk, claim, state, interval, until)


async def _begin(desk: Desk, claim: Claim, next_day: date | None) -> None:
    async with desk.pool.connection() as connection:
        await hold_lease(connection, claim)
        await run_query(connection, "sweep_begin", {**claim.key, "run_id": claim.run_id, "next_day": next_day})


# ── a delta feed, from its start ────────────────────────────────────────────────────────────────────────────


async def _sweep_changes(desk: Desk, claim: Claim, state: _Sweep, interval: timedelta, until: float) -> None:
    if state.cursor is None:
        await note_ahead(desk.pool, claim, in_sweep=True)
    reading = Pass(
        connection_id=claim.connection_id,
        account_id=claim.account_id,
        cursor=state.cursor,
        resumes=state.cursor is not None,
        from_start=True,
        window=None,
        chunk_rows=desk.settings.backfill_chunk_rows,
        deadline=until,
        is_sweep=True,
    )
    async with aclosing(change_chunks(desk.bank, reading)) as chunks:
        async for changes, _ in chunks:
            following: Following = None if changes.ends else {"cursor": changes.cursor, "next_day": None}
            await _apply(desk, claim, state, changes, interval, following)


# ── an account that is listed, by slices of days ────────────────────────────────────────────────────────────


async def _sweep_days(desk: Desk, claim: Claim, state: _Sweep, interval: timedelta, until: float) -> None:
    today = (await store.listing_start(desk.pool, claim.account_id)).today
    last = today + timedelta(days=decide.DAYS_AHEAD)
    clock: Callable[[], float] = asyncio.get_running_loop().time
    day = await _sweep_slice(desk, claim, state, state.next_day or decide.HISTORY_BEGINS, last, interval)
    while day <= last and clock() < until:
        day = await _sweep_slice(desk, claim, state, day, last, interval)


async def _sweep_slice(desk: Desk, claim: Claim, state: _Sweep, first: date, last: date, interval: timedelta) -> date:
    """Read a stretch of days to its end, as a listing of its own; returns the day after them."""
    rows = desk.settings.backfill_chunk_rows
    async with desk.pool.connection() as connection:
        slice_of = {"account_id": claim.account_id, "day": first, "rows": rows, "last": last}
        final: date = min((await fetch_row(connection, "sweep_slice", slice_of))["day"], last)
    one_day = timedelta(days=1)
    # The first and the last day of a window are not judged: each slice judges its own days, and no day is left out.
    window = Window(max(first - one_day, decide.HISTORY_BEGINS), final + one_day)
    reading = Pass(
        connection_id=claim.connection_id,
        account_id=claim.account_id,
        cursor=None,
        resumes=False,
        from_start=False,
        window=window,
        chunk_rows=SLICE_ROWS_MAX,
        deadline=inf,
        is_sweep=True,
    )
    async with aclosing(listing_chunks(desk.bank, reading)) as chunks:
        async for changes, _ in chunks:
            ends = changes.ends and final >= last
            following: Following = {"cursor": None, "next_day": final + one_day if changes.ends else first}
            await _apply(desk, claim, state, changes, interval, None if ends else following)
    return final + one_day


# ── what either found ───────────────────────────────────────────────────────────────────────────────────────


async def _apply(
    desk: Desk, claim: Claim, state: _Sweep, changes: Changeset, interval: timedelta, following: Following
) -> None:
    """Store a stretch in one transaction with where the sweep goes on, None at its end. The target's cursor, and how
    fresh it is, are the polls' alone. Raises FencedError.
    """
    assert state.run_id is not None
    async with desk.pool.connection() as connection:
        await connection.execute(QUERIES["stage_create"])
        await hold_lease(connection, claim)
        changed, removed, absence = await move_rows(connection, claim, changes)
        trusted = changes.ends and absence.doubt is None
        # A sweep of a delta feed spans many runs, and what one of them saw refused is seen.
        first_run = state.run_id if changes.window is None or following is None else claim.run_id
        await keep_refused(
            connection,
            claim,
            changes.refused,
            # One slice of days answers for its days. All of them were shown at the end, if none was doubted.
            shows_all=trusted and following is None and await breaker.find(connection, claim.key) is None,
            window=changes.window if trusted else None,
            last_before=first_run - 1,
        )
        if trusted and changes.window is not None:
            await run_query(connection, "coverage_extend", {**claim.key, **changes.scope, "run_id": claim.run_id})
        applied = Applied(changes.rows_seen, changed, removed, len(changes.refused), changes.pages)
        await run_query(connection, "run_add", {"run_id": claim.run_id, **_counts(applied)})
        if following is None:
            await run_query(connection, "sweep_end", _ending(claim, interval, None))
        else:
            await run_query(connection, "sweep_advance", {**claim.key, **following, "rows_seen": applied.rows_seen})
        if changed or removed:
            await notify_changed(connection, claim, None if claim.account_id == "" else [claim.account_id])
    if changed or removed or absence.moved:
        log.warning(
            "a sweep found what no poll had told",
            account=claim.account_id or None,
            run_id=claim.run_id,
            rows_changed=changed,
            rows_removed=removed,
            doubt=None if absence.doubt is None else str(absence.doubt),
        )


def _counts(applied: Applied) -> dict[str, int]:
    return {
        "pages": applied.pages,
        "rows_seen": applied.rows_seen,
        "rows_changed": applied.rows_changed,
        "rows_removed": applied.rows_removed,
        "rows_refused": applied.rows_refused,
    }
