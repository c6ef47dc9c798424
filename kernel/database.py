"""Connections: a pool per process, in the process's role, with its timeouts; reads that survive a restart.

The role's GRANTs are the boundary. `default_transaction_read_only` and the timeouts are a seatbelt only,
since a session can change them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from kernel import errors

log = structlog.get_logger()

Role = Literal[
    "bankmirror_access", "bankmirror_ingest", "bankmirror_reader", "bankmirror_receipts", "bankmirror_transfers"
]
Connection = AsyncConnection[Any]
Pool = AsyncConnectionPool[Connection]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """How a process talks to PostgreSQL. Timeouts are in milliseconds."""

    role: Role
    application_name: str
    read_only: bool
    statement_timeout_ms: int
    lock_timeout_ms: int
    # Longer than a statement may take, so that the statement's own error is the one that is seen.
    idle_in_transaction_timeout_ms: int
    # `force_generic_plan`: a prepared statement is planned once for all parameters, and not again for each.
    plan_cache_mode: Literal["auto", "force_generic_plan"] = "auto"


# Planning took nine tenths of an answer about one account: the view of all feeds alone joins ten tables. Left to itself
# the server plans a question five times on each connection, or for ever where it thinks little of the generic plan.
READER = Session("bankmirror_reader", "bankmirror readapi", True, 5_000, 1_000, 10_000, "force_generic_plan")
INGEST = Session("bankmirror_ingest", "bankmirror ingest", False, 60_000, 5_000, 90_000)
TRANSFERS = Session("bankmirror_transfers", "bankmirror transfers", False, 5_000, 1_000, 10_000)
ACCESS = Session("bankmirror_access", "bankmirror token", False, 5_000, 1_000, 10_000)
RECEIPTS = Session("bankmirror_receipts", "bankmirror receipts", False, 5_000, 1_000, 10_000)


def conninfo(database_url: str, session: Session) -> str:
    """The connection string that enters the session's role with its settings."""
    settings = {
        "role": session.role,
        "timezone": "UTC",
        "default_transaction_read_only": "on" if session.read_only else "off",
        "statement_timeout": session.statement_timeout_ms,
        "lock_timeout": session.lock_timeout_ms,
        "idle_in_transaction_session_timeout": session.idle_in_transaction_timeout_ms,
        "plan_cache_mode": session.plan_cache_mode,
        # Our queries are short and prepared; compiling them costs more than it saves.
        "jit": "off",
    }
    ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
    given = conninfo_to_dict(database_url).get("options") or ""
    return make_conninfo(
        database_url,
        options=f"{given} {ours}".strip(),
        application_name=session.application_name,
        # Seconds. A database that is up answers at once, and a caller is waiting.
        connect_timeout=3,
        keepalives_idle=30,
        tcp_user_timeout=10_000,
    )


def make_pool(database_url: str, session: Session, *, max_size: int, autocommit: bool = False) -> Pool:
    """A pool that is not open yet; `async with` opens it.

    No `check` callback: after a database restart it would try stale connections one by one with growing pauses
    and turn a second of downtime into half a minute. `read` below drains the pool instead.
    """
    return AsyncConnectionPool(
        conninfo(database_url, session),
        connection_class=AsyncConnection,
        kwargs={"autocommit": autocommit},
        min_size=min(2, max_size),
        max_size=max_size,
        # Seconds that a caller waits for a connection before it is told that we are overloaded.
        timeout=2.0,
        # Callers beyond this would wait longer than their own patience.
        max_waiting=max_size * 20,
        name=session.application_name,
        open=False,
    )


async def read(pool: Pool, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Run a read on a pooled connection; when the server hung up, once more on a fresh one.

    Only for work that changes nothing. Raises a Problem (database-unavailable, overloaded, query-timeout).
    """
    try:
        return await _attempt(pool, work)
    except psycopg.OperationalError as error:
        problem = _translate_read(error)
        if not isinstance(problem, errors.DatabaseUnavailable) or isinstance(error, PoolTimeout):
            raise problem from error
        log.warning("database connection lost, trying once more", error=type(error).__name__)
        await pool.drain()
    try:
        return await _attempt(pool, work)
    except psycopg.OperationalError as error:
        raise _translate_read(error) from error


async def _attempt(pool: Pool, work: Callable[[Connection], Awaitable[T]]) -> T:
    async with pool.connection() as connection:
        return await work(connection)


def _translate_read(error: psycopg.OperationalError) -> errors.Problem:
    # A read waits for a lock only while the schema is changed under it; it is in nobody's way.
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return errors.Overloaded()
    return translate_error(error) or errors.DatabaseUnavailable()


def is_commit_in_doubt(error: psycopg.Error) -> bool:
    """Whether the connection was lost where a commit may have been under way: it may have succeeded all the same.

    What the server refused was rolled back, and a connection that was never made began nothing.
    """
    lost = error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
    never_began = isinstance(error, PoolTimeout | TooManyRequests)
    return isinstance(error, psycopg.OperationalError) and lost and not never_began


def translate_error(error: BaseException) -> errors.Problem | None:
    """The problem that a client is told for a driver error; None for an error that is our own bug."""
    match error:
        case TooManyRequests():
            return errors.Overloaded()
        case PoolTimeout():
            return errors.DatabaseUnavailable()
        case psycopg.errors.QueryCanceled():
            return errors.QueryTimeout()
        case psycopg.errors.LockNotAvailable():
            return errors.RequestInProgress()
        case psycopg.errors.ReadOnlySqlTransaction() | psycopg.errors.DiskFull():
            return errors.DatabaseUnavailable()
        case psycopg.errors.SerializationFailure() | psycopg.errors.DeadlockDetected():
            return errors.Overloaded()
        case psycopg.errors.CharacterNotInRepertoire() | psycopg.errors.UntranslatableCharacter():
            return errors.ValidationFailed("the request holds a character that cannot be stored")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            return errors.DatabaseUnavailable()
        case _:
            return None
