"""Connections, targets, leases and runs. SQL runs only here and in what a changeset is applied with."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from banks.ports import BankError, BankReader
from ingest import decide
from ingest.decide import Feed
from kernel.database import INGEST, Connection, Pool, make_pool
from kernel.errors import StartupError
from kernel.sql import load_queries

QUERIES = load_queries("ingest")

Outcome = Literal["complete", "partial", "failed", "throttled", "fenced"]
# What is claimed, and has requests set aside for it, apart from the other: accounts and balances, and the histories.
Kind = Literal["listings", "transactions"]


class FencedError(Exception):
    """Another process claimed the target while this one slept. Nothing of what it holds may be written."""


class ClockSetBackError(BankError):
    """The database's clock stands before the beginning of the run."""

    slug = "database-clock-set-back"


@dataclass(frozen=True, slots=True)
class Claim:
    """A target that is ours until its lease ends, and the run that was opened for it."""

    connection_id: str
    account_id: str
    feed: Feed
    cursor: str | None
    checkpoint: str | None
    complete: bool
    failures: int
    lease_epoch: int
    run_id: int
    started_at: datetime
    # Seconds since the feed last changed or was read, when it was claimed.
    silent_seconds: float = 0.0

    @property
    def key(self) -> dict[str, Any]:
        """The target and the epoch that we hold it under, as query parameters."""
        return {
            "connection_id": self.connection_id,
            "account_id": self.account_id,
            "feed": self.feed,
            "lease_epoch": self.lease_epoch,
        }


@dataclass(frozen=True, slots=True)
class TargetState:
    """How a target stands."""

    account_id: str
    feed: Feed
    complete: bool
    synced_at: datetime | None
    failures: int
    last_error: str | None
    parked_reason: str | None
    held_by: str | None
    due: bool


@dataclass(frozen=True, slots=True)
class ListingStart:
    """What the mirror knows about an account's days before it is listed again."""

    covered_to: date | None
    oldest_open: date | None
    posting_lag: timedelta | None
    today: date
    now: datetime


async def register(
    pool: Pool,
    bank: BankReader,
    bank_id: str,
    connection_id: str,
    feeds_per_account: frozenset[Feed],
    interval_seconds: float,
    *,
    sets_pace: bool,
) -> None:
    """Say which bank this connection reads, and make its targets; those there are get a new pace if `sets_pace`.

    Raises StartupError when the database already holds another bank's data under this connection.
    """
    async with pool.connection() as connection:
        stored = await _row(connection, "connection_get", {"connection_id": connection_id})
        if stored is not None and stored["has_data"] and (stored["bank"], stored["bank_id"]) != (bank.name, bank_id):
            raise StartupError(
                f"this database mirrors {_describe(stored['bank_id'], stored['base_url'])}, "
                f"and not {_describe(bank_id, bank.base_url)}",
                "point BANK_API_BASE_URL back to that bank, or give this one a database of its own: "
                "another DATABASE_URL or BANKMIRROR_HOME, or `bankmirror up --fresh`",
            )
        await connection.execute(
            QUERIES["connection_upsert"],
            {
                "connection_id": connection_id,
                "bank": bank.name,
                "bank_id": bank_id,
                "base_url": bank.base_url,
                "capabilities": Jsonb(_capabilities(bank)),
            },
        )
        await connection.execute(QUERIES["budget_ensure"], {"connection_id": connection_id})
        ways = target_ways(connection_id, feeds_per_account, interval_seconds)
        for query in ("targets_ensure", *(["targets_pace"] if sets_pace else []), "targets_choose"):
            await connection.execute(QUERIES[query], ways)


def _describe(bank_id: str, base_url: str) -> str:
    return f"the bank at {base_url}" if bank_id == base_url else f"the bank {bank_id} at {base_url}"


def target_ways(connection_id: str, per_account: frozenset[Feed], interval_seconds: float) -> dict[str, Any]:
    """The parameters that say which feeds have one target, and which have one for each account."""
    feeds: tuple[Feed, ...] = ("accounts", "balances", "transactions")
    return {
        "connection_id": connection_id,
        "interval_seconds": interval_seconds,
        "feeds": [feed for feed in feeds if feed not in per_account],
        "feeds_per_account": sorted(per_account),
    }


def _capabilities(bank: BankReader) -> dict[str, Any]:
    can = bank.capabilities
    return {
        "delta_feed": can.delta_feed,
        "bulk_balances": can.bulk_balances,
        "lookup_by_reference": can.lookup_by_reference,
        "webhooks": can.webhooks,
        "idempotency_retention_seconds": can.idempotency_retention / timedelta(seconds=1),
    }


async def claim(
    pool: Pool,
    *,
    connection_id: str,
    holder: str,
    lease_seconds: float,
    targets_max: int = 1,
    only: tuple[Feed, str] | None = None,
    kinds: Sequence[Kind] = ("listings", "transactions"),
) -> list[Claim]:
    """Lease targets, and open a run for each: those due, of one kind after the other, or one that is named by feed and
    account. None may be free.
    """
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Claim)) as cursor:
        if only is not None:
            named = {"connection_id": connection_id, "feed": only[0], "account_id": only[1]}
            free = await (await connection.execute(QUERIES["target_named"], named)).fetchall()
        else:
            free = await _lock_due(connection, connection_id, targets_max, kinds)
        if not free:
            return []
        await cursor.execute(
            QUERIES["targets_lease"],
            {
                "connection_id": connection_id,
                "holder": holder,
                "lease_seconds": lease_seconds,
                "account_ids": [account_id for account_id, _ in free],
                "feeds": [feed for _, feed in free],
            },
        )
        return await cursor.fetchall()


async def _lock_due(
    connection: Connection, connection_id: str, targets_max: int, kinds: Sequence[Kind]
) -> list[tuple[str, Feed]]:
    free: list[tuple[str, Feed]] = []
    for kind in kinds:
        due = {
            "connection_id": connection_id,
            "kind": kind,
            "targets_max": targets_max - len(free),
        }
        if targets_max > len(free):
            free += await (await connection.execute(QUERIES["targets_due"], due)).fetchall()
    return free


async def renew(pool: Pool, claim: Claim, lease_seconds: float) -> None:
    """Show that the run still lives. A lease that was lost is not taken back; storing will find out."""
    async with pool.connection() as connection:
        await connection.execute(QUERIES["target_renew"], {**claim.key, "lease_seconds": lease_seconds})


async def hold_lease(connection: Connection, claim: Claim) -> None:
    """Lock the target to the end of the transaction.

    Raises FencedError when the lease is no longer ours, and ClockSetBackError rather than store something as known
    before a moment that was answered about already.
    """
    row = await _row(connection, "target_lock", {**claim.key, "started_at": claim.started_at})
    if row is None or row["lease_epoch"] != claim.lease_epoch:
        raise FencedError
    if row["clock_is_back"]:
        raise ClockSetBackError(f"set the clock right, or wait until it is past {claim.started_at.isoformat()}")


async def fail(
    pool: Pool,
    claim: Claim,
    error: BankError,
    delay: timedelta,
    *,
    outcome: Outcome,
    void: bool,
    circuit_seconds: float | None = None,
) -> None:
    """Record a failed run and when to try again. `void` forgets the checkpoint, as no longer valid."""
    parks = decide.parks(error, claim.account_id)
    async with pool.connection() as connection:
        await connection.execute(
            QUERIES["target_fail"],
            failure(claim, error, delay, void=void, parks=parks, circuit_seconds=circuit_seconds),
        )
        await _end_run(connection, claim, outcome, str(error))


def failure(
    claim: Claim,
    error: BankError,
    delay: timedelta,
    *,
    void: bool,
    parks: bool = False,
    doubted: bool = False,
    circuit_seconds: float | None = None,
) -> dict[str, Any]:
    """The parameters of target_fail. `circuit_seconds` is how long the target rests if only its account is sick."""
    return {
        **claim.key,
        "delay_seconds": delay / timedelta(seconds=1),
        "circuit_seconds": circuit_seconds,
        "error": str(error),
        "void": void,
        "parks": parks,
        "doubted": doubted,
    }


async def release(pool: Pool, claim: Claim, reason: str, *, pauses: bool) -> None:
    """Give a target back, due as it was: we cut its run short ourselves. `pauses` leaves the bank alone for a while."""
    async with pool.connection() as connection:
        await connection.execute(QUERIES["target_release"], {**claim.key, "reason": reason, "pauses": pauses})
        await _end_run(connection, claim, "failed", reason)


async def record_fenced(pool: Pool, claim: Claim) -> None:
    """Close the run of a lease that was lost."""
    async with pool.connection() as connection:
        await _end_run(connection, claim, "fenced", "another process took over while this one was not running")


async def _end_run(connection: Connection, claim: Claim, outcome: Outcome, error: str) -> None:
    await connection.execute(QUERIES["run_end"], {"run_id": claim.run_id, "outcome": outcome, "error": error})


async def restart_pass(pool: Pool, claim: Claim) -> None:
    """Forget the cursor, as the bank did. Answers say partial until everything was read again."""
    async with pool.connection() as connection:
        await connection.execute(QUERIES["target_forget_cursor"], claim.key)


async def listing_start(pool: Pool, account_id: str) -> ListingStart:
    """What decides the next window of an account."""
    async with (
        pool.connection() as connection,
        connection.cursor(row_factory=class_row(ListingStart)) as cursor,
    ):
        await cursor.execute(QUERIES["window_get"], {"account_id": account_id})
        found = await cursor.fetchone()
        assert found is not None
        return found


async def hasten_accounts(pool: Pool, connection_id: str, account_ids: Sequence[str]) -> None:
    """Have the accounts listed at once if one of these is not known yet."""
    async with pool.connection() as connection:
        unknown = await connection.execute(QUERIES["accounts_unknown"], {"ids": list(account_ids)})
        if unknown.rowcount:
            await connection.execute(QUERIES["target_hasten"], {"connection_id": connection_id})


async def targets(pool: Pool, connection_id: str) -> list[TargetState]:
    """Every target of a connection."""
    async with (
        pool.connection() as connection,
        connection.cursor(row_factory=class_row(TargetState)) as cursor,
    ):
        await cursor.execute(QUERIES["targets_list"], {"connection_id": connection_id})
        return await cursor.fetchall()


async def refresh_views(pool: Pool) -> bool:
    """Refresh the materialized views if something changed since. True when it did."""
    async with pool.connection() as connection:
        row = await _row(connection, "views_refresh", {})
        return row is not None and bool(row["refreshed"])


async def move_clock(pool: Pool) -> None:
    """Show that the mirror is kept up to now, so that answers as known at a moment just past can be given."""
    async with pool.connection() as connection:
        await connection.execute(QUERIES["clock_move"])


async def prune_runs(pool: Pool) -> int:
    """Forget runs that nobody will ask about any more; returns how many."""
    async with pool.connection() as connection:
        return await run_query(connection, "runs_prune")


async def prune_webhooks(pool: Pool, keep_seconds: float) -> int:
    """Forget webhooks that could not be replayed any more; returns how many."""
    async with pool.connection() as connection:
        return await run_query(connection, "webhooks_prune", {"keep_seconds": keep_seconds})


async def quarantine_open(pool: Pool, connection_id: str) -> int:
    """How many refused rows wait for somebody."""
    async with pool.connection() as connection:
        row = await _row(connection, "quarantine_count", {"connection_id": connection_id})
        return 0 if row is None else int(row["open"])


async def run_query(connection: Connection, query: str, parameters: Mapping[str, Any] | None = None) -> int:
    """Run a query of a changeset and say how many rows it touched.

    Never prepared: the right plan depends on how full the temporary tables are this time.
    """
    cursor = await connection.execute(QUERIES[query], parameters, prepare=False)
    return max(cursor.rowcount, 0)


async def fetch_row(connection: Connection, query: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The one row of a query that always has one; unprepared, as in run_query."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES[query], parameters, prepare=False)
        row = await cursor.fetchone()
        assert row is not None
        return row


async def _row(connection: Connection, query: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES[query], parameters)
        return await cursor.fetchone()


@asynccontextmanager
async def open_mirror(database_url: str) -> AsyncIterator[Pool]:
    """The mirror alone, in the role of ingest, for a command that asks no bank. Raises psycopg.Error."""
    async with make_pool(database_url, INGEST, max_size=2) as pool:
        await pool.wait(timeout=10.0)
        yield pool
