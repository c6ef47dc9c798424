"""The only place that runs SQL, but for the load of the history (seed.py). Statements are in queries.sql.

Functions that take a connection belong to the caller's transaction; functions that take a pool are
one round trip of their own.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, LiteralString, assert_never

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from sandbox.entries import Account, Amend, Book, Booked, Change, Entry, Hold, Remove

Connection = AsyncConnection[DictRow]
Pool = AsyncConnectionPool[Connection]

_FOLDER: Final = Path(__file__).parent

# UTC because dates are cut from timestamps; plans for the values at hand because filters are optional.
_OPTIONS: Final = "-c timezone=UTC -c plan_cache_mode=force_custom_plan -c statement_timeout={timeout_ms} -c jit=off"
_STATEMENT_TIMEOUT_MS: Final = 15_000


def read_sql(name: str) -> LiteralString:
    """A SQL file of this package: literal, because it is ours and no client's text is ever in it."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def named(text: LiteralString) -> dict[str, LiteralString]:
    """The statements of a file whose parts begin with `-- name: noun_verb`."""
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


QUERIES: Final[Mapping[str, LiteralString]] = {**named(read_sql("queries.sql")), **named(read_sql("chaos/events.sql"))}


@dataclass(frozen=True)
class Ledger:
    """The bank's clock and the head of its log."""

    seed: int
    bank_time: datetime
    tick: int
    head: int
    epoch: int
    strict_pagination: bool


@dataclass(frozen=True)
class ChangesPage:
    """One page of the feed: JSON objects separated by commas, and where the log stands."""

    epoch: int
    head: int
    strict_pagination: bool
    has_more: bool
    last_position: int | None
    added: str
    modified: str
    removed: str


@dataclass(frozen=True)
class KeptAnswer:
    """What was answered under an idempotency key."""

    fingerprint: str
    status: int
    body: str


def make_pool(database_url: str, size: int) -> Pool:
    """A pool, not open yet. Callers wait two seconds at most: better to fail than to hang."""
    kwargs = connection_options()
    return AsyncConnectionPool(
        database_url, connection_class=Connection, kwargs=kwargs, min_size=1, max_size=size,
        open=False, timeout=2.0, name="sandbox",
    )  # fmt: skip


def connection_options(*, timeout_ms: int = _STATEMENT_TIMEOUT_MS) -> dict[str, Any]:
    """How every connection of the bank is opened."""
    return {
        "row_factory": dict_row,
        "options": _OPTIONS.format(timeout_ms=timeout_ms),
        "application_name": "bankmirror.sandbox",
        "autocommit": True,
        "connect_timeout": 10,
    }


async def fetch_one(conn: Connection, name: str, **params: Any) -> DictRow | None:
    """The first row of a named query, or None."""
    return await (await conn.execute(QUERIES[name], params)).fetchone()


async def fetch_row(conn: Connection, name: str, **params: Any) -> DictRow:
    """The only row of a named query that always has one."""
    row = await fetch_one(conn, name, **params)
    assert row is not None, f"{name} returned nothing"
    return row


async def fetch_all(conn: Connection, name: str, **params: Any) -> list[DictRow]:
    """All rows of a named query: of one that is bounded."""
    return await (await conn.execute(QUERIES[name], params)).fetchall()


async def run(conn: Connection, name: str, **params: Any) -> None:
    """A named statement without an answer."""
    await conn.execute(QUERIES[name], params)


async def get_ledger(conn: Connection) -> Ledger:
    """The ledger of the last commit."""
    return Ledger(**await fetch_row(conn, "ledger_get"))


async def lock_ledger(conn: Connection) -> Ledger:
    """Be alone in writing to the books until the transaction ends."""
    return Ledger(**await fetch_row(conn, "ledger_lock"))


async def get_living(conn: Connection) -> list[Account]:
    """The accounts that life happens to."""
    rows = await (await conn.execute(QUERIES["accounts_living"])).fetchall()
    return [Account(**row) for row in rows]


async def lock_accounts(conn: Connection, account_ids: Sequence[str]) -> dict[str, Account]:
    """Accounts by id, locked; ids that this bank does not have are missing."""
    rows = await (await conn.execute(QUERIES["accounts_lock"], {"account_ids": list(account_ids)})).fetchall()
    return {row["account_id"]: Account(**row) for row in rows}


async def get_due(conn: Connection, until: datetime) -> list[Hold]:
    """Holds whose time has come, in the order in which it came."""
    rows = await (await conn.execute(QUERIES["holds_due"], {"until": until})).fetchall()
    return [Hold(due_at=row.pop("due_at"), outcome=row.pop("outcome"), booked=_booked(row)) for row in rows]


async def get_recent(conn: Connection, head: int) -> list[Booked]:
    """Recent posted purchases, newest first."""
    rows = await (await conn.execute(QUERIES["purchases_recent"], {"head": head})).fetchall()
    return [_booked(row) for row in rows]


async def choose(conn: Connection, **wanted: str | None) -> list[Booked]:
    """Transactions that something may happen to, those that changed last first."""
    return [_booked(row) for row in await fetch_all(conn, "transactions_choose", **wanted)]


def _booked(row: DictRow) -> Booked:
    return Booked(row.pop("transaction_id"), Entry(**row))


async def apply(
    conn: Connection, ledger: Ledger, changes: Sequence[Change], *, bank_time: datetime, ticks: int = 0
) -> None:
    """Write changes at the next positions of the log and move the bank's time. Balances follow by trigger."""
    books: list[dict[str, Any]] = []
    amends: list[dict[str, Any]] = []
    removes: list[dict[str, Any]] = []
    for position, change in enumerate(changes, ledger.head + 1):
        match change:
            case Book():
                books.append(
                    asdict(change.entry) | {"position": position, "due_at": change.due_at, "outcome": change.outcome}
                )
            case Amend():
                amends.append(asdict(change) | {"position": position})
            case Remove():
                removes.append(asdict(change) | {"position": position})
            case _:
                assert_never(change)
    async with conn.pipeline():
        if books:
            await run(conn, "transactions_book", rows=_rows(books))
            await run(conn, "holds_place", rows=_rows(books))
        if amends:
            await run(conn, "transactions_amend", rows=_rows(amends))
        if removes:
            await run(conn, "transactions_remove", rows=_rows(removes))
        settled = [row["transaction_id"] for row in (*amends, *removes)]
        if settled:
            await run(conn, "holds_drop", transaction_ids=settled)
        await run(conn, "ledger_advance", changes=len(changes), bank_time=bank_time, ticks=ticks)


def _rows(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, default=_iso)


def _iso(value: object) -> str:
    assert isinstance(value, date | datetime)
    return value.isoformat()


async def find_answer(conn: Connection, key: str, retention_seconds: int) -> KeptAnswer | None:
    """The answer given under a key, while it is remembered."""
    row = await fetch_one(conn, "key_find", key=key, retention_seconds=retention_seconds)
    return None if row is None else KeptAnswer(**row)


async def get_born(conn: Connection, position: int) -> str:
    """The transaction that was just booked at a position, as JSON."""
    row = await fetch_row(conn, "transaction_get_born", position=position)
    return str(row["wire"])


async def get_webhook_urls(conn: Connection) -> list[str]:
    """Where to send."""
    return [row["url"] for row in await (await conn.execute(QUERIES["webhooks_urls"])).fetchall()]


async def get_account(pool: Pool, account_id: str) -> DictRow | None:
    """`account` and `balance` of one account, each as JSON, and whether it is `gone`; or None."""
    async with pool.connection() as conn:
        return await fetch_one(conn, "account_get", account_id=account_id)


async def get_transaction(pool: Pool, transaction_id: str) -> str | None:
    """One transaction as JSON, or None."""
    async with pool.connection() as conn:
        row = await fetch_one(conn, "transaction_get", transaction_id=transaction_id)
    return None if row is None else str(row["wire"])


async def page_accounts(pool: Pool, *, balances: bool, after: str, limit: int) -> DictRow:
    """`data` (JSON objects separated by commas), `has_more`, `last_id`."""
    async with pool.connection() as conn:
        return await fetch_row(conn, "accounts_page", balances=balances, after=after, limit=limit)


async def page_transactions(pool: Pool, **filters: Any) -> DictRow:
    """`data` (JSON objects separated by commas), `has_more`, `last_day`, `last_id`; `gone`: the account is."""
    async with pool.connection() as conn:
        return await fetch_row(conn, "transactions_page", **filters)


async def page_changes(pool: Pool, *, after: int, began: int, loop_head: int | None, limit: int) -> ChangesPage:
    """One page of the change feed after a position."""
    async with pool.connection() as conn:
        row = await fetch_row(conn, "changes_page", after=after, began=began, loop_head=loop_head, limit=limit)
    return ChangesPage(**row)
