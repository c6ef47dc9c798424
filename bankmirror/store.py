"""The only place of this package that runs SQL on the mirror, which it never changes."""

from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row

from kernel.sql import load_queries

QUERIES = load_queries("bankmirror")

# Seconds. A database that is up answers at once, and a person waits.
_CONNECT_SECONDS = 3
# Milliseconds. Counting the largest mirror takes seconds; a lock that a migration holds may take longer.
_STATEMENT_MS = 30_000


async def connect(database_url: str) -> AsyncConnection[DictRow]:
    """A read-only connection as whoever DATABASE_URL names. Raises psycopg.Error."""
    return await AsyncConnection.connect(
        database_url,
        autocommit=True,
        row_factory=dict_row,
        connect_timeout=_CONNECT_SECONDS,
        application_name="bankmirror",
        options=f"-c default_transaction_read_only=on -c statement_timeout={_STATEMENT_MS} -c timezone=UTC",
    )


async def fetch_all(connection: AsyncConnection[DictRow], query: str, **parameters: Any) -> list[DictRow]:
    """All rows of a named query."""
    cursor = await connection.execute(QUERIES[query], parameters or None)
    return await cursor.fetchall()


async def fetch_one(connection: AsyncConnection[DictRow], query: str, **parameters: Any) -> DictRow:
    """The only row of a named query that always has one."""
    (row,) = await fetch_all(connection, query, **parameters)
    return row


async def ask(database_url: str, query: str, **parameters: Any) -> DictRow:
    """The only row of a named query, on a connection just for it."""
    async with await connect(database_url) as connection:
        return await fetch_one(connection, query, **parameters)
