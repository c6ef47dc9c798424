"""The mirror's side of a comparison. It changes nothing, and counting the largest mirror may take its time."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from psycopg.rows import args_row, class_row, dict_row

from banks.ports import FetchedAccount, FetchedBalance, FetchedTransaction, Refused
from ingest.store import QUERIES
from ingest.tally import Book, Excuse, Slot, Tally, UntiedDay
from kernel.database import Connection, Pool

# Days with a wrong total that are told; one is enough to know that something is badly wrong.
UNTIED_MAX = 1_000


class KeptBalance(NamedTuple):
    """A mirrored balance, and what the newest entry of its history says: current and available."""

    balance: FetchedBalance
    history: tuple[int, int | None] | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A mirrored account with its balances by currency; `parked_reason` is set if it is not polled any more."""

    account: FetchedAccount
    parked_reason: str | None
    balances: dict[str, KeptBalance] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proof:
    """What is in the mirror, all connections together, and how much of it ties with what was kept beside it.

    A balance ties if it is the sum of what was booked: that of a bank whose history begins later never does.
    """

    accounts: int
    transactions: int
    sums_minor: dict[str, int]
    days: int
    days_untied: int
    balances: int
    balances_tied: int
    quarantined: int


async def prove(pool: Pool) -> Proof:
    """Count everything once."""
    (row,) = await _rows(pool, "proof_get", {})
    return Proof(**{**row, "sums_minor": {currency: int(total) for currency, total in row["sums_minor"].items()}})


async def accounts_stored(pool: Pool, connection_id: str, account_id: str | None) -> dict[str, Stored]:
    """Every mirrored account of a connection, or one."""
    stored: dict[str, Stored] = {}
    for row in await _rows(pool, "accounts_stored", {"connection_id": connection_id, "account_id": account_id}):
        account = FetchedAccount(*(row[name] for name in FetchedAccount._fields))
        known = stored.setdefault(account.account_id, Stored(account, row["parked_reason"]))
        if (currency := row["balance_currency"]) is not None:
            has_history = row["history_current_minor"] is not None
            known.balances[currency] = KeptBalance(
                FetchedBalance(
                    account.account_id, currency, row["current_minor"], row["available_minor"], row["as_of"]
                ),
                (row["history_current_minor"], row["history_available_minor"]) if has_history else None,
            )
    return stored


async def accounts_held_back(pool: Pool, connection_id: str) -> set[str]:
    """Listed ids that may be known accounts under a new one, and are not mirrored before that is decided."""
    return {row["listed_id"] for row in await _rows(pool, "accounts_held_back", {"connection_id": connection_id})}


async def days_tally(pool: Pool, account_id: str, first: date | None, last: date | None) -> Book:
    """An account's tallies, of all days or of some."""
    rows = await _rows(pool, "days_tally", {"account_id": account_id, "first": first, "last": last})
    return {
        Slot(row["day"], row["status"], row["currency"]): Tally(row["entries"], int(row["sum_minor"]), row["digest"])
        for row in rows
    }


async def days_untied(pool: Pool, account_id: str | None, first: date | None, last: date | None) -> list[UntiedDay]:
    """The days whose rows do not add up to their totals."""
    scope = {"account_id": account_id, "first": first, "last": last, "days_max": UNTIED_MAX}
    async with _at_leisure(pool) as connection, connection.cursor(row_factory=class_row(UntiedDay)) as cursor:
        await cursor.execute(QUERIES["days_untied"], scope)
        return await cursor.fetchall()


async def rows_of_days(pool: Pool, account_id: str, days: Sequence[date]) -> dict[str, FetchedTransaction]:
    """An account's rows of some days, by id."""
    return await _transactions(pool, "rows_of_days", {"account_id": account_id, "days": list(days)})


async def rows_of_ids(pool: Pool, account_id: str, ids: Sequence[str]) -> dict[str, FetchedTransaction]:
    """Those of an account's rows that have one of these ids."""
    return await _transactions(pool, "rows_of_ids", {"account_id": account_id, "ids": list(ids)})


async def excuses(pool: Pool, account_id: str, ids: Sequence[str]) -> dict[str, Excuse]:
    """What excuses rows that only one side shows, by id."""
    found = await _rows(pool, "excuses_find", {"account_id": account_id, "ids": list(ids)})
    return {row["transaction_id"]: Excuse(**row) for row in found}


async def unkept(
    pool: Pool, connection_id: str, account_id: str, refused: Mapping[bytes, Refused]
) -> dict[bytes, Refused]:
    """Which refused rows, by the digest of their bytes, are not in quarantine."""
    rows = list(refused.items())
    scope = {
        "connection_id": connection_id,
        "account_id": account_id,
        "digests": [digest for digest, _ in rows],
        "ids": [row.transaction_id for _, row in rows],
    }
    kept = {row["place"] for row in await _rows(pool, "quarantine_has", scope)}
    return {digest: row for place, (digest, row) in enumerate(rows, start=1) if place not in kept}


async def _transactions(pool: Pool, query: str, parameters: dict[str, Any]) -> dict[str, FetchedTransaction]:
    async with (
        _at_leisure(pool) as connection,
        connection.cursor(row_factory=args_row(FetchedTransaction)) as cursor,
    ):
        await cursor.execute(QUERIES[query], parameters)
        return {row.transaction_id: row async for row in cursor}


async def _rows(pool: Pool, query: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    async with _at_leisure(pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(QUERIES[query], parameters)
        return await cursor.fetchall()


@asynccontextmanager
async def _at_leisure(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.connection() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        yield connection
