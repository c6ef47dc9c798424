"""Questions on behalf of a caller. What the caller may see is enforced by the database, whatever the question says.

The views of the schema `read` show the accounts named in a setting of the current transaction, and nothing without it.
The setting and the question travel together, as one transaction in one message, and the setting ends with it. So no
connection carries one caller's sight over to the next.
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
from kernel.onetrip import Statement, ask

log = structlog.get_logger()

Parameters = dict[str, str | None]

# The version is that of the statement before the question: everything it says is there, the question saw as well.
ENTER: LiteralString = """
    SELECT set_config('bankmirror.accounts', %(accounts)s, true), set_config('bankmirror.memo', %(memo)s, true),
           pg_snapshot_xmin(pg_current_snapshot())::text"""
# Before a question that takes longer to plan than to answer, and whose plan is the same for all values.
PLAN_ONCE: LiteralString = "SELECT set_config('plan_cache_mode', 'force_generic_plan', true)"


class Reader:
    """Asks the read model for one caller, for the length of one request."""

    __slots__ = ("_entering", "caller", "pool", "version")

    def __init__(self, pool: Pool, caller: Caller) -> None:
        self.pool = pool
        self.caller = caller
        self._entering = entering(caller)
        # The read model's version in the last answer: it holds every transaction of the database before this one.
        self.version = ""

    async def row(self, query: LiteralString, parameters: Parameters, *, plan_once: bool = False) -> tuple[Any, ...]:
        """The one row of a query, in one round trip; empty when there is none. Raises a Problem."""
        rows = await self.rows(query, parameters, plan_once=plan_once)
        return rows[0] if rows else ()

    async def rows(
        self, query: LiteralString, parameters: Parameters, *, plan_once: bool = False
    ) -> list[tuple[Any, ...]]:
        """All rows of a query, in one round trip. Raises a Problem."""
        before: list[Statement] = [(ENTER, self._entering), *([(PLAN_ONCE, {})] if plan_once else [])]

        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            entered, *_, rows = await ask(connection, [*before, (query, self._in_sight(parameters))])
            self.version = entered[0][2]
            return rows

        try:
            return await read(self.pool, work)
        except psycopg.DataError as error:
            # What the checks before us let through and PostgreSQL cannot hold, e.g. NUL, is the caller's mistake.
            log.info("value refused by the database", error=type(error).__name__)
            raise ValidationFailed("a value in the request cannot be read") from error

    def _in_sight(self, parameters: Parameters) -> Parameters:
        """An account out of sight is looked for under a name that no account has. The database would show nothing of it
        either, but take longer over that than over an account that there is not, and so tell that there is one.
        """
        account_id, seen = parameters.get("account_id"), self.caller.accounts
        if account_id is None or seen is None or account_id in seen:
            return parameters
        return {**parameters, "account_id": ""}


def reader_of(request: Request) -> Reader:
    """The reader of whoever sent a request. The door has said who that is; nobody asks who did not come through it."""
    return Reader(request.app.state.pool, request.scope["bankmirror.caller"])


def entering(caller: Caller) -> Parameters:
    """The settings under which a caller reads: accounts as an array literal or `*` for all, and whether memos show."""
    accounts = "*" if caller.accounts is None else array_literal(caller.accounts)
    # Without `read`, nothing: a token that may only ask for transfers does not read.
    return {
        "accounts": accounts if caller.may("read") else "{}",
        "memo": "on" if caller.may("read:memo") else "off",
    }


def array_literal(texts: tuple[str, ...]) -> str:
    """Texts as PostgreSQL's text[] literal."""
    return bytes(ListDumper(list, Transformer()).dump(list(texts)) or b"{}").decode() if texts else "{}"
