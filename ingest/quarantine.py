"""What people do about refused rows: look, have them read again by today's adapter, or answer for them.

A row is read again from the bytes that were kept, and applied as any other change is: under the lease of its target, in
one transaction, and only if the bank has told nothing newer of it since.
"""

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from psycopg.rows import class_row

from banks.ports import BankError, FetchedTransaction, Refused
from banks.registry import reread
from ingest import decide, store
from ingest.advance import notify_changed
from ingest.apply import move_rows
from ingest.decide import DEFAULT_CONNECTION, Changeset
from ingest.store import QUERIES, Claim, Outcome, hold_lease, run_query
from kernel.database import Pool

# Entries that a person is shown at once, and rows that one transaction reads again.
LISTED_MAX = 1_000
# Seconds to wait for a target that a poll holds, and between two looks at it. A run lasts two minutes at most.
LEASE_WAIT_SECONDS = 150.0
LOOK_SECONDS = 0.2
# Of the lease. No bank is asked: the one transaction is through in a moment, or ends at the statement timeout.
LEASE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A refused row as it came, with why, since when and how often; `resolution` and the rest once it is settled."""

    quarantine_id: int
    connection_id: str
    account_id: str
    feed: str
    transaction_id: str
    day: date | None
    reason: str
    raw: bytes
    first_seen_at: datetime
    last_seen_at: datetime
    times_seen: int
    resolved_at: datetime | None
    resolution: str | None
    resolved_by: str | None
    resolved_why: str | None


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of an entry: `read again`, `superseded`, or `kept` for the reason."""

    quarantine_id: int
    outcome: str
    reason: str = ""


class _Kept(NamedTuple):
    """An open entry of a transaction."""

    quarantine_id: int
    connection_id: str
    account_id: str
    transaction_id: str
    reason: str
    raw: bytes
    last_seen_at: datetime


class _Well(NamedTuple):
    """An entry that today's adapter can read."""

    quarantine_id: int
    row: FetchedTransaction


async def entries(pool: Pool, *, resolved_too: bool = False, quarantine_id: int | None = None) -> list[Entry]:
    """Open entries, oldest first; then, if asked for, the resolved ones. Or the one that is named."""
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(Entry)) as cursor:
        wanted = {"all": resolved_too or quarantine_id is not None, "quarantine_id": quarantine_id, "rows": LISTED_MAX}
        await cursor.execute(QUERIES["quarantine_list"], wanted)
        return await cursor.fetchall()


async def resolve(pool: Pool, quarantine_id: int, *, by: str, why: str) -> bool:
    """Record that somebody answers for an open entry: its bytes cast no doubt any more, even if they are shown again.
    False if it is not open.
    """
    async with pool.connection() as connection:
        settled = {"quarantine_id": quarantine_id, "by": by, "why": why}
        cursor = await connection.execute(QUERIES["quarantine_resolve_by_hand"], settled)
        return await cursor.fetchone() is not None


async def retry(pool: Pool, ids: Sequence[int] | None) -> list[Retried]:
    """Read open entries again, all or those named. What is well now is in the mirror when this returns."""
    scope = {"connection_id": DEFAULT_CONNECTION, "ids": None if ids is None else list(ids)}
    async with pool.connection() as connection, connection.cursor(row_factory=class_row(_Kept)) as cursor:
        await cursor.execute(QUERIES["quarantine_open_rows"], scope)
        kept = await cursor.fetchall()
        others = await (await connection.execute(QUERIES["quarantine_open_others"], scope)).fetchall()
        known_bank = await (await connection.execute(QUERIES["connection_get"], scope)).fetchone()
    bank = "" if known_bank is None else known_bank[0]
    told = [Retried(row[0], "kept", "each poll reads all accounts and balances anyway") for row in others]
    if ids is not None:
        known = {*(entry.quarantine_id for entry in kept), *(row[0] for row in others)}
        told += [Retried(missing, "kept", "no open entry has this id") for missing in ids if missing not in known]
    by_account: dict[str, list[_Well]] = {}
    for entry in kept:
        match _read(bank, entry):
            case FetchedTransaction() as row:
                by_account.setdefault(row.account_id, []).append(_Well(entry.quarantine_id, row))
            case Refused() as refused:
                told.append(Retried(entry.quarantine_id, "kept", refused.reason))
    for account_id, well in by_account.items():
        told += await _retry_account(pool, account_id, well)
    return sorted(told, key=lambda entry: entry.quarantine_id)


def _read(bank: str, entry: _Kept) -> FetchedTransaction | Refused:
    found = reread(bank, entry.raw)
    if isinstance(found, Refused):
        return found
    account_id = decide.mirror_account_id(entry.connection_id, found.account_id)
    if entry.account_id not in ("", account_id):
        return Refused(entry.account_id, "it was shown in the listing of another account", entry.raw)
    return found._replace(account_id=account_id)


async def _retry_account(pool: Pool, account_id: str, well: list[_Well]) -> list[Retried]:
    claim = await _claim(pool, account_id)
    if claim is None:
        return [Retried(one.quarantine_id, "kept", "its feed is being polled, or is parked") for one in well]
    outcome: Outcome = "failed"
    error: str | None = "the command was interrupted"
    try:
        told = await _apply(pool, claim, well)
        outcome, error = "partial", None
    except BankError as refused:
        error = str(refused)
        told = [Retried(one.quarantine_id, "kept", error) for one in well]
    finally:
        await asyncio.shield(_release(pool, claim, outcome, error))
    return told


async def _claim(pool: Pool, account_id: str) -> Claim | None:
    """The lease of the target that reads an account's transactions; None if it is not to be had."""
    async with pool.connection() as connection:
        asked = {"connection_id": DEFAULT_CONNECTION, "account_id": account_id}
        found = await (await connection.execute(QUERIES["target_of_transactions"], asked)).fetchone()
    give_up_at = time.monotonic() + LEASE_WAIT_SECONDS
    while found is not None and time.monotonic() < give_up_at:
        claims = await store.claim(
            pool,
            connection_id=DEFAULT_CONNECTION,
            holder=f"{socket.gethostname()}:{os.getpid()}",
            lease_seconds=LEASE_SECONDS,
            only=("transactions", found[0]),
        )
        if claims:
            return claims[0]
        await asyncio.sleep(LOOK_SECONDS)
    return None


async def _release(pool: Pool, claim: Claim, outcome: Outcome, error: str | None) -> None:
    async with pool.connection() as connection:
        released = {**claim.key, "reason": error, "pauses": False}
        await connection.execute(QUERIES["target_release"], released)
        await connection.execute(QUERIES["run_end"], {"run_id": claim.run_id, "outcome": outcome, "error": error})


async def _apply(pool: Pool, claim: Claim, well: list[_Well]) -> list[Retried]:
    async with pool.connection() as connection:
        await connection.execute(QUERIES["stage_create"])
        await hold_lease(connection, claim)
        # The newest word of each transaction, as the entries come in that order.
        newest = {one.row[:2]: one.quarantine_id for one in well}
        asked = {
            "ids": [one.quarantine_id for one in well],
            "accounts": [one.row.account_id for one in well],
            "transactions": [one.row.transaction_id for one in well],
        }
        found = await (await connection.execute(QUERIES["quarantine_newer"], asked)).fetchall()
        newer = {row[0]: row[1] for row in found}
        told: list[Retried] = []
        rows: dict[int, FetchedTransaction] = {}
        for one in well:
            why = newer.get(one.quarantine_id)
            if why == "open":
                told.append(Retried(one.quarantine_id, "kept", "a newer version of it is in quarantine too"))
            elif why is not None or newest[one.row[:2]] != one.quarantine_id:
                told.append(Retried(one.quarantine_id, "superseded"))
            else:
                rows[one.quarantine_id] = one.row
        changed = 0
        if rows:
            changed, *_ = await move_rows(connection, claim, _changeset(list(rows.values())))
        superseded = [entry.quarantine_id for entry in told if entry.outcome == "superseded"]
        await run_query(connection, "quarantine_close", {"ids": superseded, "resolution": "superseded"})
        await run_query(connection, "quarantine_close", {"ids": list(rows), "resolution": "read again"})
        counted = {"pages": 0, "rows_seen": len(rows), "rows_changed": changed, "rows_removed": 0, "rows_refused": 0}
        await run_query(connection, "run_add", {"run_id": claim.run_id, **counted})
        if changed:
            await notify_changed(connection, claim, sorted({row.account_id for row in rows.values()}))
    return told + [Retried(quarantine_id, "read again") for quarantine_id in rows]


def _changeset(rows: list[FetchedTransaction]) -> Changeset:
    return Changeset(
        upserts=rows,
        removed=(),
        refused=(),
        pages=0,
        rows_seen=len(rows),
        cursor=None,
        begins=False,
        ends=False,
        from_start=False,
        window=None,
        as_of=None,
    )
