"""One poll of one feed: fetch with no transaction open, decide, store; what goes wrong is recorded."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple, assert_never

import psycopg
import structlog

from banks.ports import (
    BankError,
    BankReader,
    BankThrottled,
    BankUnreachable,
    CursorExpired,
    MutatedDuringPagination,
)
from ingest import decide, metrics, relink, store
from ingest.absence import note_ahead
from ingest.advance import NOTHING, Advance, Applied
from ingest.apply import apply_transactions
from ingest.apply_listed import apply_accounts, apply_balances
from ingest.budget import KIND, Budget
from ingest.decide import Changeset, Feed
from ingest.fetch import Pass, change_chunks, fetch_accounts, fetch_balances, listing_chunks
from ingest.identity import PositionalIds, flag_positions
from ingest.pace import Pace, circuit_seconds
from ingest.settings import IngestSettings
from ingest.store import Claim, FencedError, Outcome
from kernel.database import Pool

log = structlog.get_logger()

# A bank that changes under every reading of it is read again in the next run.
RESTARTS_MAX = 5
# A run looks at its deadline after every page, and then one page and one changeset may still be under way.
# A run that is not through by now hangs.
RUN_GRACE_SECONDS = 60.0
# Giving a lease back after the database went away; after that the lease simply ends.
RELEASE_ATTEMPTS = 3
DATABASE_AWAY = "the database was not available"


class NotStoredError(BankError):
    """The database refused what the bank sent; a bug of ours, but it must not end the process."""

    slug = "not-stored"


class PollFailedError(BankError):
    """Something unforeseen; the log has it."""

    slug = "internal"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come, told after each stretch of pages."""

    feed: Feed
    account_id: str
    rows_seen: int


@dataclass(frozen=True, slots=True)
class Polled:
    """How a poll ended."""

    feed: Feed
    account_id: str
    outcome: Outcome
    applied: Applied = NOTHING
    error: str | None = None
    # What `error` says, as it was raised, where the bank's side failed.
    cause: BankError | None = None


class Desk(NamedTuple):
    """What a poll works with."""

    bank: BankReader
    pool: Pool
    settings: IngestSettings
    heard: Callable[[Progress], None] = lambda progress: None
    # What limits its requests, and how often it polls; None leaves that to the process that stays.
    budget: Budget | None = None
    pace: Pace | None = None


async def poll(desk: Desk, claim: Claim) -> Polled:
    """Poll a claimed target. Raises nothing but cancellation: failures are recorded with the time of the next
    try.
    """
    started = asyncio.get_running_loop().time()
    KIND.set("transactions" if claim.feed == "transactions" else "listings")
    renewing = asyncio.create_task(keep_lease(desk, claim))
    try:
        polled = await _poll_safely(desk, claim)
    except asyncio.CancelledError:
        # Whatever it was at, be it writing down a failure: nobody holds the target any more.
        await asyncio.shield(_release(desk, claim, "the process was asked to end", pauses=False))
        raise
    finally:
        renewing.cancel()
    metrics.RUNS.labels(claim.feed, polled.outcome).inc()
    metrics.RUN_SECONDS.labels(claim.feed).observe(asyncio.get_running_loop().time() - started)
    metrics.ROWS_CHANGED.labels(claim.feed).inc(polled.applied.rows_changed)
    metrics.ROWS_REMOVED.labels(claim.feed).inc(polled.applied.rows_removed)
    level = log.debug if polled.outcome == "complete" and not polled.applied.rows_changed else log.info
    level(
        "polled",
        feed=claim.feed,
        account=claim.account_id or None,
        run_id=claim.run_id,
        outcome=polled.outcome,
        rows_seen=polled.applied.rows_seen,
        rows_changed=polled.applied.rows_changed,
        rows_removed=polled.applied.rows_removed,
        error=polled.error,
    )
    return polled


async def keep_lease(desk: Desk, claim: Claim) -> None:
    """Renew the lease until cancelled."""
    while True:
        await asyncio.sleep(desk.settings.lease_seconds / 3)
        with suppress(psycopg.Error):
            await store.renew(desk.pool, claim, desk.settings.lease_seconds)


async def _poll_safely(desk: Desk, claim: Claim) -> Polled:
    limit = desk.settings.run_deadline_seconds + RUN_GRACE_SECONDS
    try:
        async with asyncio.timeout(limit):
            return await _poll_feed(desk, claim)
    except FencedError:
        metrics.LEASES_LOST.inc()
        return await _record(desk, claim, "fenced", None)
    except BankThrottled as error:
        return await _record(desk, claim, "throttled", error)
    except BankError as error:
        return await _record(desk, claim, "failed", error)
    except TimeoutError:
        return await _record(desk, claim, "failed", BankUnreachable(f"not done within {limit:.0f} s"))
    except psycopg.Error as error:
        if _is_lost_connection(error):
            log.warning("database unavailable during a poll", feed=claim.feed, error=type(error).__name__)
            await _release(desk, claim, DATABASE_AWAY, pauses=True)
            return Polled(claim.feed, claim.account_id, "failed", error="database-unavailable")
        log.exception("a changeset could not be stored", feed=claim.feed, run_id=claim.run_id)
        return await _record(desk, claim, "failed", NotStoredError(f"SQLSTATE {error.sqlstate}"))
    except Exception as error:
        log.exception("a poll failed in an unforeseen way", feed=claim.feed, run_id=claim.run_id)
        return await _record(desk, claim, "failed", PollFailedError(type(error).__name__))


async def _record(desk: Desk, claim: Claim, outcome: Outcome, error: BankError | None) -> Polled:
    """Write down how a run failed; a database that is away at this moment must not end the process either."""
    try:
        if error is None:
            await store.record_fenced(desk.pool, claim)
        else:
            dice = _dice()
            delay = decide.retry_delay(error, claim.failures + 1, jitter=dice)
            # To be told to wait is no sickness of the account.
            rest = None if outcome == "throttled" else circuit_seconds(claim.failures + 1, jitter=dice)
            # Pages of before and after a change do not fit together: what is left of such a pass is read
            # anew.
            void = isinstance(error, MutatedDuringPagination | CursorExpired)
            await store.fail(desk.pool, claim, error, delay, outcome=outcome, void=void, circuit_seconds=rest)
    except psycopg.Error:
        await _release(desk, claim, DATABASE_AWAY, pauses=True)
    return Polled(claim.feed, claim.account_id, outcome, error=None if error is None else str(error), cause=error)


def _is_lost_connection(error: psycopg.Error) -> bool:
    """Whether the database went away. A full disk, a lock or a cancelled statement is a failure like any other."""
    away = error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
    return isinstance(error, psycopg.OperationalError) and away


async def _release(desk: Desk, claim: Claim, reason: str, *, pauses: bool) -> None:
    for _ in range(RELEASE_ATTEMPTS):
        with suppress(psycopg.Error):
            await store.release(desk.pool, claim, reason, pauses=pauses)
            return
        await asyncio.sleep(1)


async def _poll_feed(desk: Desk, claim: Claim) -> Polled:
    match claim.feed:
        case "accounts":
            applied = await _poll_accounts(desk, claim)
        case "balances":
            applied = await _poll_balances(await _with_former_ids(desk, claim), claim)
        case "transactions":
            return await _poll_transactions(await _with_former_ids(desk, claim), claim)
        case _:
            assert_never(claim.feed)
    return await _polled(desk, claim, applied, "complete")


async def _with_former_ids(desk: Desk, claim: Claim) -> Desk:
    """Asked once the target is ours: who decides about ids takes the lease away."""
    return desk._replace(bank=await relink.renamed(desk.pool, desk.bank, claim.connection_id))


async def _polled(desk: Desk, claim: Claim, applied: Applied, outcome: Outcome) -> Polled:
    desk.heard(Progress(claim.feed, claim.account_id, applied.rows_seen))
    if applied.unknown_accounts:
        await store.hasten_accounts(desk.pool, claim.connection_id, applied.unknown_accounts)
    if applied.doubt is not None:
        return Polled(claim.feed, claim.account_id, "partial", applied, str(applied.doubt))
    return Polled(claim.feed, claim.account_id, outcome, applied)


async def _poll_accounts(desk: Desk, claim: Claim) -> Applied:
    listed = await fetch_accounts(desk.bank, claim.connection_id)
    per_account = decide.feeds_per_account(desk.bank.capabilities, desk.settings.read_mode)
    targets = store.target_ways(claim.connection_id, per_account, desk.settings.poll_seconds)
    return await apply_accounts(desk.pool, claim, listed, _finished(desk), targets)


async def _poll_balances(desk: Desk, claim: Claim) -> Applied:
    listed = await fetch_balances(desk.bank, claim.connection_id, claim.account_id)
    return await apply_balances(desk.pool, claim, listed, _finished(desk))


def _finished(desk: Desk) -> Advance:
    return Advance("complete", spread=_spread(), pace=desk.pace)


async def _poll_transactions(desk: Desk, claim: Claim) -> Polled:
    """Read until the terminal page or the deadline; start over when the bank changed or forgot the cursor
    meanwhile.
    """
    deadline = asyncio.get_running_loop().time() + desk.settings.run_deadline_seconds
    restarts = 0
    while True:
        try:
            applied, ended = await _read_pass(desk, claim, await _next_pass(desk, claim, deadline))
            return await _polled(desk, claim, applied, "complete" if ended else "partial")
        except MutatedDuringPagination:
            if (restarts := restarts + 1) > RESTARTS_MAX:
                raise
            claim = replace(claim, checkpoint=None)
        except PositionalIds as error:
            await flag_positions(desk.pool, claim, error)
            raise
        except CursorExpired:
            # Once: a bank that forgets every cursor would keep us at this for ever.
            if claim.cursor is None and claim.checkpoint is None:
                raise
            await store.restart_pass(desk.pool, claim)
            claim = replace(claim, cursor=None, checkpoint=None, complete=False)


async def _next_pass(desk: Desk, claim: Claim, deadline: float) -> Pass:
    """The pass that goes on from the target's checkpoint, or starts where the last complete one ended."""
    resumes = claim.checkpoint is not None
    window, cursor, began = None, claim.checkpoint or claim.cursor, None
    by_changes = decide.reads_changes(desk.bank.capabilities, desk.settings.read_mode)
    if not by_changes and claim.checkpoint is not None:
        window, cursor, began = decide.Checkpoint.decode(claim.checkpoint)
    elif not by_changes:
        start = await store.listing_start(desk.pool, claim.account_id)
        overlap = decide.lookback(timedelta(days=desk.settings.overlap_days), start.posting_lag)
        window, cursor, began = (
            decide.listing_window(start.today, start.covered_to, start.oldest_open, overlap),
            None,
            start.now,
        )
    shows_all = claim.cursor is None if window is None else window.first == decide.HISTORY_BEGINS
    if shows_all and not resumes:
        await note_ahead(desk.pool, claim)
    return Pass(
        connection_id=claim.connection_id,
        account_id=claim.account_id,
        cursor=cursor,
        resumes=resumes,
        from_start=by_changes and claim.cursor is None,
        window=window,
        chunk_rows=desk.settings.backfill_chunk_rows,
        deadline=deadline,
        began=began,
    )


async def _read_pass(desk: Desk, claim: Claim, reading: Pass) -> tuple[Applied, bool]:
    """Store each chunk while the next one is fetched. The second value says whether the terminal page was
    reached.
    """
    chunks = (change_chunks if reading.window is None else listing_chunks)(desk.bank, reading)
    applied = Applied()
    storing: asyncio.Task[Applied] | None = None
    ended = False
    try:
        async for changes, goes_on in chunks:
            if storing is not None:
                applied += await storing
                desk.heard(Progress(claim.feed, claim.account_id, applied.rows_seen))
            storing = asyncio.create_task(
                apply_transactions(desk.pool, claim, changes, _advance(desk, reading, changes, goes_on))
            )
            ended = changes.ends
        if storing is not None:
            applied += await storing
    except asyncio.CancelledError:
        if storing is not None:
            storing.cancel()
        raise
    finally:
        # What was fetched before a failure is good. It is stored, or given up, before anything else is
        # written.
        if storing is not None:
            await asyncio.wait([storing])
    return applied, ended


def _advance(desk: Desk, reading: Pass, changes: Changeset, goes_on: bool) -> Advance:
    if changes.ends:
        return replace(_finished(desk), cursor_from=reading.cursor, cursor=changes.cursor)
    assert changes.cursor is not None
    checkpoint = changes.cursor
    if reading.window is not None:
        checkpoint = decide.Checkpoint(reading.window, changes.cursor, reading.began).encode()
    return Advance("running" if goes_on else "partial", cursor_from=reading.cursor, checkpoint=checkpoint)


def _dice() -> float:
    return random.random()  # noqa: S311  # It spreads polls over time and protects nothing.


def _spread() -> float:
    """Polls drift apart by up to a tenth of their interval, and never come early: a second look must be one
    later.
    """
    return 1.0 + _dice() / 10
