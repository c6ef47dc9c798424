"""Questions on behalf of a caller. What the caller may see is enforced by the database, whatever the question says.

The views of the schema `read` show the accounts named in a setting of the current transaction, and nothing without it.
The setting and the question travel together: statements of one pipeline, without a BEGIN, are one transaction and one
round trip, and the setting ends with it. So no connection carries one caller's sight over to the next.
"""

from typing import Any, LiteralString

import psycopg
import structlog
from fastapi import Request
from psycopg.adapt import Transformer
from psycopg.types.array import ListDumper

from kernel.caller import Caller
from kernel.database import Connection, Pool, read
from kernel.errors import ValidationFailed

log = structlog.get_logger()

Parameters = dict[str, str | None]

# The version is that of the statement before the question: everything it says is there, the question saw as well.
ENTER: LiteralString = """
    SELECT set_config('bankmirror.accounts', %s, true), set_config('bankmirror.memo', %s, true),
           pg_snapshot_xmin(pg_current_snapshot())::text"""


class Reader:
    """Asks the read model for one caller, for the length of one request."""

    __slots__ = ("_entering", "caller", "pool", "version")

    def __init__(self, pool: Pool, caller: Caller) -> None:
        self.pool = pool
        self.caller = caller
        self._entering = entering(caller)
        # The read model's version in the last answer: it holds every transaction of the database before this one.
        self.version = ""

    async def row(self, query: LiteralString, parameters: Parameters) -> tuple[Any, ...]:
        """The one row of a query, in one round trip; empty when there is none. Raises a Problem."""
        rows = await self.rows(query, parameters)
        return rows[0] if rows else ()

    async def rows(self, query: LiteralString, parameters: Parameters) -> list[tuple[Any, ...]]:
        """All rows of a query, in one round trip. Raises a Problem."""

        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            async with connection.pipeline():
                entered = await connection.execute(ENTER, self._entering, prepare=True)
                cursor = await connection.execute(query, parameters, prepare=True)
                rows = await cursor.fetchall()
                first = await entered.fetchone()
            assert first is not None
            self.version = first[2]
            return rows

        try:
            return await read(self.pool, work)
        except psycopg.DataError as error:
            # What the checks before us let through and PostgreSQL cannot hold, e.g. NUL, is the caller's mistake.
            log.info("value refused by the database", error=type(error).__name__)
            raise ValidationFailed("a value in the request cannot be read") from error


def reader_of(request: Request) -> Reader:
    """The reader of whoever sent a request. The door has said who that is; nobody asks who did not come through it."""
    return Reader(request.app.state.pool, request.scope["bankmirror.caller"])


def entering(caller: Caller) -> tuple[str, str]:
    """The settings under which a caller reads: accounts as an array literal or `*` for all, and whether memos show."""
    accounts = "*" if caller.accounts is None else array_literal(caller.accounts)
    # Without `read`, nothing: a token that may only ask for transfers does not read.
    return (accounts if caller.may("read") else "{}", "on" if caller.may("read:memo") else "off")


def array_literal(texts: tuple[str, ...]) -> str:
    """Texts as PostgreSQL's text[] literal."""
    return bytes(ListDumper(list, Transformer()).dump(list(texts)) or b"{}").decode() if texts else "{}"
