"""Where ingest is tortured: a real database that is emptied instead of made anew, and connections that can be cut."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from ingest.settings import IngestSettings
from kernel.database import INGEST, Pool, conninfo


class KilledError(BaseException):
    """kill -9: nobody catches it, no lease is given back, no run is closed; the server rolls back."""


class Strikes:
    """What befalls a worker at its n-th statement. Each worker's pool has one; without a strike it only counts."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.kind = ""
        # Called before each statement, to look at what a reader sees just then.
        self.watch: Callable[[], Awaitable[None]] | None = None

    def arm(self, kind: str, statement: int) -> None:
        """Let it strike once."""
        self.kind, self.left = kind, statement

    def disarm(self) -> bool:
        """No more of it; whether it is still to come."""
        waiting, self.left = self.left is not None, None
        return waiting

    async def before_statement(self, connection: AsyncConnection[Any]) -> None:
        """Strike if this is the statement."""
        if self.watch is not None:
            await self.watch()
        if self.left is not None and self.kind != "lost commit":
            self.left -= 1
            if self.left <= 0:
                await self._strike(connection)

    async def before_commit(self, connection: AsyncConnection[Any]) -> bool:
        """Strike if this is the commit. True if it is made and nobody hears of it."""
        if self.left is None:
            return False
        self.left -= 1
        if self.left > 0:
            return False
        if self.kind == "lost commit":
            self.left = None
            return True
        await self._strike(connection)
        return False

    async def _strike(self, connection: AsyncConnection[Any]) -> None:
        self.left = None
        match self.kind:
            case "kill":
                raise KilledError
            case "cancel":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)
            case "cut":
                await connection.close()
                raise psycopg.OperationalError("the connection was cut")
            case _:
                raise AssertionError(self.kind)


class StruckCursor(AsyncCursor[TupleRow]):
    """A cursor whose statements may be the last."""

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        connection = self.connection
        if isinstance(connection, StruckConnection) and connection.strikes is not None:
            await connection.strikes.before_statement(connection)
        return await super().execute(*arguments, **options)


class StruckConnection(AsyncConnection[TupleRow]):
    """A connection that may be cut at any statement, or at a commit that the server had made."""

    strikes: Strikes | None = None

    async def commit(self) -> None:
        if self.strikes is not None and await self.strikes.before_commit(self):
            await super().commit()
            await self.close()
            raise psycopg.OperationalError("the answer to COMMIT was lost")
        await super().commit()


@asynccontextmanager
async def struck_pool(settings: IngestSettings, strikes: Strikes) -> AsyncIterator[Pool]:
    """A pool in the role of ingest, as kernel.database.make_pool makes it, that can be struck."""

    async def prepare(connection: AsyncConnection[Any]) -> None:
        assert isinstance(connection, StruckConnection)
        connection.strikes = strikes
        connection.cursor_factory = StruckCursor

    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        conninfo(settings.database_url.get_secret_value(), INGEST),
        connection_class=StruckConnection,
        configure=prepare,
        min_size=1,
        max_size=3,
        timeout=30.0,
        open=False,
    )
    async with pool:
        yield pool


async def empty_tables(owner: AsyncConnection[TupleRow]) -> list[str]:
    """The tables of the mirror and of its keeping that a migrated database has nothing in."""
    found = await owner.execute(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('snapshot', 'sync')"
    )
    names = [row[0] for row in await found.fetchall()]
    filled = [await (await owner.execute(f"SELECT EXISTS (SELECT FROM {name})".encode())).fetchone() for name in names]
    return [name for name, has_rows in zip(names, filled, strict=True) if has_rows == (False,)]


async def empty(owner: AsyncConnection[TupleRow], tables: list[str]) -> None:
    """A database as it was before any bank."""
    await owner.execute(f"TRUNCATE {', '.join(tables)}".encode())
    await owner.execute("DELETE FROM read.refreshes")
