"""What commands share by which a person changes what the mirror holds in doubt: a pool, a name, a refusal."""

import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from kernel.database import Connection, Pool

T = TypeVar("T")

# The largest bigint: the database would call a larger id an error, where there is just no such entry.
ID_MAX = 2**63 - 1


def in_mirror(work: "Callable[[Pool], Awaitable[T]]") -> T:
    """What the work returns that was given the mirror, in the role of ingest. Raises StartupError or psycopg.Error."""
    return asyncio.run(_in_mirror(work))


async def _in_mirror(work: "Callable[[Pool], Awaitable[T]]") -> T:
    from bankmirror import settings
    from bankmirror.database import check_schema
    from ingest.store import open_mirror
    from kernel.log import configure_log

    configure_log("bankmirror", "warning", "console")
    url = settings.database_url(settings.load(settings.UpSettings))
    check_schema(url)
    async with open_mirror(url) as pool:
        return await work(pool)


def in_access(work: "Callable[[Connection], Awaitable[T]]") -> T:
    """What the work returns that was given a connection in the role that gives out tokens; committed when it returns.
    Raises StartupError or psycopg.Error.
    """
    return asyncio.run(_in_access(work))


async def _in_access(work: "Callable[[Connection], Awaitable[T]]") -> T:
    from psycopg import AsyncConnection

    from bankmirror import settings
    from bankmirror.database import check_schema
    from kernel.database import ACCESS, conninfo
    from kernel.log import configure_log

    configure_log("bankmirror", "warning", "console")
    url = settings.database_url(settings.load(settings.UpSettings))
    check_schema(url)
    async with await AsyncConnection.connect(conninfo(url, ACCESS)) as connection:
        return await work(connection)


def who(named: str | None) -> str:
    """Who decides: the name that was given, else that of the login."""
    return named or getpass.getuser()


def refuse(told: str) -> NoReturn:
    """End the command with what is wrong."""
    from bankmirror.command import as_typed

    sys.stderr.write(f"error: {as_typed(told)}\n")
    raise typer.Exit(1)
