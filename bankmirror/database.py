"""The database of one `up`: the embedded server, started again when it dies, or the one that is given."""

import asyncio
import shlex
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import sql

from bankmirror import store
from bankmirror.home import Home
from bankmirror.postgres import EmbeddedPostgres, PostgresError
from bankmirror.postgres_files import find_binaries
from kernel.errors import StartupError
from schema import migrate

SERVER_VERSION_MIN = 14
# A dead server is noticed so soon. Readers meanwhile answer from memory or with 503.
_CHECK_SECONDS = 0.2
_RETRY_SECONDS = 5.0


class Embedded:
    """The home's own server. Blocking calls run in threads; only one is under way at a time."""

    def __init__(self, home: Home, server: EmbeddedPostgres) -> None:
        self._home = home
        self._server: EmbeddedPostgres | None = server
        self._stopping = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, home: Home) -> "Embedded":
        """Start the server. When cancelled, it is stopped again before this returns."""
        starting = asyncio.create_task(asyncio.to_thread(EmbeddedPostgres.start, home.path))
        try:
            return cls(home, await asyncio.shield(starting))
        except asyncio.CancelledError:
            # A thread cannot be cancelled, and a server must not be left behind.
            await asyncio.to_thread((await starting).stop)
            raise

    def url(self, database: str) -> str:
        assert self._server is not None
        return self._server.url(database)

    async def create_databases(self, *names: str, fresh: bool) -> bool:
        """Make the databases that do not exist, or all anew if `fresh`. Returns whether they were there."""
        assert self._server is not None
        async with await psycopg.AsyncConnection.connect(self._server.url(), autocommit=True) as connection:
            for name in names if fresh else ():
                await connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
                )
            cursor = await connection.execute(
                "SELECT count(*) FROM pg_database WHERE datname = ANY (%s)", [list(names)]
            )
            found = await cursor.fetchone()
        for name in names:
            await asyncio.to_thread(self._server.create_database, name)
        return found == (len(names),)

    def keep_alive(self, report: Callable[[str], None]) -> None:
        """From now on start the server again whenever it dies."""
        self._keeping = asyncio.create_task(self._keep(report))

    async def stop(self) -> None:
        """Stop the server. When it is just being started again, that is awaited first."""
        self._stopping.set()
        if self._keeping is not None:
            await self._keeping
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

    async def _keep(self, report: Callable[[str], None]) -> None:
        while not await self._stopping_within(_CHECK_SECONDS):
            if self._server is not None and self._server.is_alive():
                continue
            try:
                if self._server is not None:
                    report("PostgreSQL died, starting it again")
                    await asyncio.to_thread(self._server.stop)
                    self._server = None
                self._server = await asyncio.to_thread(EmbeddedPostgres.start, self._home.path)
                report("PostgreSQL runs again")
            except PostgresError as error:
                report(f"{error.detail}; trying again in {_RETRY_SECONDS:.0f} s")
                await self._stopping_within(_RETRY_SECONDS)

    async def _stopping_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()

    def write_psql(self, database: str) -> None:
        """Leave a `psql` in the home that knows where the database is."""
        script = self._home.path / "psql"
        program = find_binaries(None) / "psql"
        command = shlex.join([str(program), self.url(database)])
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)


async def check_server(database_url: str) -> str:
    """Refuse a server that is too old; returns its version. Raises StartupError or psycopg.Error."""
    found = await store.ask(database_url, "database_describe")
    if found["version_num"] < SERVER_VERSION_MIN * 10_000:
        raise StartupError(
            f"PostgreSQL {found['version']} is too old",
            f"use PostgreSQL {SERVER_VERSION_MIN} or newer in DATABASE_URL",
        )
    return str(found["version"])


def migrate_schema(database_url: str) -> str | None:
    """Bring the schema to this version's; returns the revision that it had. Raises what `explain` can tell."""
    before = migrate.current_revision(database_url)
    if before is not None and before > migrate.HEAD:
        raise StartupError(
            f"the database's schema is none that this version knows ({before}, after {migrate.HEAD})",
            "use the version of Bankmirror that made it, or a newer one",
        )
    if before != migrate.HEAD:
        migrate.upgrade(database_url)
    return before


def check_schema(database_url: str) -> str | None:
    """Refuse to work on an older schema than ours; returns its revision. Raises StartupError or psycopg.Error.

    A newer one is left alone: while a new version is rolled out, the old one's processes may still restart.
    """
    try:
        revision = migrate.current_revision(database_url)
    except psycopg.errors.InsufficientPrivilege:
        # A process's own login may not see the owner's bookkeeping; its first query will tell.
        return None
    if revision is None:
        raise StartupError("the database has no Bankmirror schema yet", "run `bankmirror migrate`")
    if revision < migrate.HEAD:
        raise StartupError(
            f"the database's schema is old ({revision}; this version needs {migrate.HEAD})",
            "run `bankmirror migrate`",
        )
    return revision
