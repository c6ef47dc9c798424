"""The only place of this package that runs SQL. Whatever writes is one statement, which is one transaction.

The pool is in autocommit: a statement is answered when its commit is on disk, because the driver waits until
the server is ready for the next one. A connection that is lost before that raises, and then nobody knows
whether it was committed.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg_pool import PoolTimeout, TooManyRequests

from banks.ports import Outcome, Payment
from kernel import errors
from kernel.database import Connection, Pool, read
from kernel.passes import StoredToken
from kernel.sql import load_queries
from transfers.states import Move, Sent, State

QUERIES = load_queries("transfers")
_DEADLOCK_TRIES = 5


class Bank(NamedTuple):
    """The bank that a process pays through: its connection in the mirror, and what tells it from any other."""

    connection_id: str
    bank_id: str


class Account(NamedTuple):
    """A mirrored account, as far as a transfer needs it."""

    account_id: str
    connection_id: str
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class NewTransfer:
    """A request that was checked, with everything that is frozen in it."""

    transfer_id: UUID
    principal: str
    client_key: str | None
    fingerprint: bytes
    account_id: str
    destination_account_id: str
    amount_minor: int
    currency: str
    reference: str | None
    memo: str | None
    connection_id: str
    bank_id: str
    bank_key: str
    request_bytes: bytes


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer as clients see it."""

    transfer_id: UUID
    account_id: str
    destination_account_id: str
    amount_minor: int
    currency: str
    reference: str | None
    memo: str | None
    state: State
    bank_transaction_id: str | None
    outcome_code: str | None
    attempts: int
    created_at: datetime
    updated_at: datetime
    logged: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A transfer that one worker holds until its lease ends, with the attempt that was committed for it."""

    transfer_id: UUID
    epoch: int
    attempt: int
    state: State
    payment: Payment
    request_bytes: bytes
    sent: Sent
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """What a contact with the bank about a claimed transfer showed, and where the transfer goes."""

    claim: Claim
    outcome: Outcome
    move: Move


async def insert_transfers(pool: Pool, new: Sequence[NewTransfer]) -> set[UUID]:
    """Record requests with their audit events; the ids of those whose key was not taken."""
    columns = {name: [getattr(row, name) for row in new] for name in NewTransfer.__slots__}
    return {row["transfer_id"] for row in await _write(pool, "transfers_insert", columns)}


async def find_transfers(pool: Pool, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """What was asked for before, by (principal, client key)."""
    parameters = {"principal": [key[0] for key in keys], "client_key": [key[1] for key in keys]}
    return {(row["principal"], row["client_key"]): row for row in await _read(pool, "transfers_find", parameters)}


async def select_accounts(pool: Pool, account_ids: Iterable[str]) -> dict[str, Account]:
    """The mirrored accounts among these ids."""
    rows = await _read(pool, "accounts_select", {"account_ids": list(account_ids)})
    return {row["account_id"]: Account(**row) for row in rows}


async def select_tokens(pool: Pool, token_ids: Sequence[str]) -> list[StoredToken]:
    """The tokens with these ids, as far as there are such."""
    rows = await _read(pool, "tokens_select", {"token_ids": list(token_ids)})
    return [StoredToken(**row) for row in rows]


async def record_refusal(pool: Pool, actor: str, scope: str) -> None:
    """Write to the audit chain that somebody asked for what takes a scope that they have not."""
    await _write(pool, "refusal_record", {"actor": actor, "scope": scope})


async def select_transfer(connection: Connection, transfer_id: UUID) -> Transfer | None:
    """One transfer as it stands."""
    cursor = connection.cursor(row_factory=class_row(Transfer))
    await cursor.execute(QUERIES["transfer_select"], {"transfer_id": transfer_id})
    return await cursor.fetchone()


async def select_history(
    connection: Connection, transfer_id: UUID
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A transfer's contacts with the bank, and its audit events."""
    cursor = connection.cursor(row_factory=dict_row)
    attempts = await (await cursor.execute(QUERIES["attempts_select"], {"transfer_id": transfer_id})).fetchall()
    events = await (await cursor.execute(QUERIES["history_select"], {"transfer_id": transfer_id})).fetchall()
    return attempts, events


async def count_open(connection: Connection) -> list[dict[str, Any]]:
    """How many transfers are in each state that is not an end, and how old the oldest is."""
    cursor = connection.cursor(row_factory=dict_row)
    return await (await cursor.execute(QUERIES["open_count"])).fetchall()


async def check(connection: Connection) -> None:
    """Raise unless the database and our part of the schema are there."""
    await connection.execute(QUERIES["head_select"])


async def count_foreign(pool: Pool, bank: Bank) -> int:
    """How many unfinished transfers were sent, or are to be sent, to another bank than this one."""
    rows = await _read(pool, "foreign_count", bank._asdict())
    return int(rows[0]["count"])


async def claim_ready(pool: Pool, worker: str, bank: Bank, slots: int, lease: timedelta) -> list[Claim]:
    """Take up to so many transfers of this bank that are ready; each may now be sent to it once."""
    return await _claim(pool, "transfers_claim", worker, bank, slots, lease)


async def claim_unresolved(pool: Pool, worker: str, bank: Bank, slots: int, lease: timedelta) -> list[Claim]:
    """Take up to so many transfers of this bank whose outcome nobody knows; each may now be looked up there."""
    return await _claim(pool, "unresolved_claim", worker, bank, slots, lease)


async def _claim(pool: Pool, query: str, worker: str, bank: Bank, slots: int, lease: timedelta) -> list[Claim]:
    parameters = {"worker": worker, **bank._asdict(), "slots": slots, "lease": lease}
    rows = await _write(pool, query, parameters)
    return [
        Claim(
            transfer_id=row["transfer_id"],
            epoch=row["epoch"],
            attempt=row["attempt"],
            state=State(row["state"]),
            payment=Payment(
                source_account_id=row["source_account_id"],
                destination_account_id=row["destination_account_id"],
                amount_minor=row["amount_minor"],
                currency=row["currency"],
                bank_key=row["bank_key"],
            ),
            request_bytes=row["request_bytes"],
            sent=Sent(row["posts"], row["first_sent_at"], row["last_sent_at"], row["attempt"]),
            claimed_at=row["claimed_at"],
        )
        for row in rows
    ]


async def begin_resend(
    pool: Pool, claim: Claim, looked_up: Outcome, worker: str, lease: timedelta, window: timedelta
) -> int | None:
    """Commit that a transfer is sent again; the number of the attempt.

    None: another worker has it, or it is too late.
    """
    rows = await _write(
        pool,
        "resend_begin",
        {
            "transfer_id": claim.transfer_id,
            "epoch": claim.epoch,
            "worker": worker,
            "lease": lease,
            "window": window,
            "verdict": looked_up.verdict,
            "http_status": looked_up.http_status,
            "detail": looked_up.detail,
        },
    )
    return rows[0]["attempt"] if rows else None


async def record_outcomes(pool: Pool, findings: Sequence[Finding]) -> list[bool]:
    """Record findings with their audit events; False for each whose worker no longer holds the transfer."""
    rows = [
        {
            "transfer_id": finding.claim.transfer_id,
            "epoch": finding.claim.epoch,
            "attempt": finding.claim.attempt,
            "from_state": finding.claim.state,
            "to_state": finding.move.to,
            "bank_transaction_id": finding.outcome.bank_transaction_id,
            "code": finding.move.code,
            "detail": finding.outcome.detail,
            "verdict": finding.outcome.verdict,
            "http_status": finding.outcome.http_status,
            "pause": finding.move.pause,
        }
        for finding in findings
    ]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    held = {(row["transfer_id"], row["epoch"]) for row in await _write(pool, "outcomes_record", columns)}
    return [(finding.claim.transfer_id, finding.claim.epoch) in held for finding in findings]


async def settle(pool: Pool, batch: int) -> int:
    """Settle accepted transfers that the mirrored feed shows as posted; how many."""
    rows = await _write(pool, "transfers_settle", {"batch": batch})
    return int(rows[0]["settled"])


async def _read(pool: Pool, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    async def fetch(connection: Connection) -> list[dict[str, Any]]:
        cursor = connection.cursor(row_factory=dict_row)
        return await (await cursor.execute(QUERIES[query], parameters)).fetchall()

    return await read(pool, fetch)


async def _write(pool: Pool, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    for tries_left in reversed(range(_DEADLOCK_TRIES)):
        try:
            async with _connection(pool) as connection:
                cursor = connection.cursor(row_factory=dict_row)
                return await (await cursor.execute(QUERIES[query], parameters)).fetchall()
        except psycopg.errors.DeadlockDetected:
            # The one failure that is certain to have changed nothing.
            if not tries_left:
                raise
    raise AssertionError("unreachable")


@asynccontextmanager
async def _connection(pool: Pool) -> AsyncIterator[Connection]:
    """A connection for a write. Nothing is tried again here: the statement may have been committed.

    When the server hung up, the other connections of the pool are stale as well, and the next caller gets a
    fresh one.
    """
    try:
        async with pool.connection() as connection:
            yield connection
    except psycopg.errors.LockNotAvailable as error:
        # Waiting for the head of the chain is load; waiting for a row is somebody with the same key.
        if "audit.append" in (error.diag.context or ""):
            raise errors.Overloaded() from error
        raise
    except (PoolTimeout, TooManyRequests):
        raise
    except psycopg.OperationalError as error:
        if error.sqlstate is None or error.sqlstate.startswith(("08", "57P")):
            await pool.drain()
        raise
