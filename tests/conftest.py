"""A real PostgreSQL for every test that asks for one, and a database of its own.

`server_url`, `template_database` and `database_url` build on each other; `connect` opens connections as a
role. The server is `BANKMIRROR_TEST_DATABASE_URL` if set, else a container where Docker answers, else the
embedded one. Databases have random names, so that runs may share a server. Roles belong to the whole server:
a test that changes one breaks its neighbours.
"""

import gc
import os
import secrets
import shutil
import signal
import socket
import tempfile
import warnings
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Any, LiteralString, Protocol
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from bankmirror.postgres import THROWAWAY, EmbeddedPostgres, PostgresError

# For one test, without its fixtures. The slowest start real processes, and take seconds on two shared cores; a limit is
# for what hangs, and what a loaded machine makes of seconds does not.
TEST_SECONDS = 120
_HOME_PREFIX = "bankmirror-tests-"


Connection = AsyncConnection[TupleRow]
Administrator = psycopg.Connection[TupleRow]


class Connect(Protocol):
    """Opens a connection to the test's database, as a role or as the administrator; closed with the test."""

    async def __call__(self, role: str | None = None, *, autocommit: bool = True) -> Connection: ...


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"seconds(limit): the test may run so long, not only {TEST_SECONDS} s.")
    # Asked to end, end as on Ctrl-C: with the fixtures, so that no server stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: the tests of one file share a process, and the other one would wait for it at the end.
    It counts only with `--no-loadscope-reorder`; a file that holds one long test would be the last one otherwise.
    """
    items.sort(key=lambda item: item.path.name != "test_torture.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test that hangs, and go on with the next one."""
    marker = item.get_closest_marker("seconds")
    limit = int(marker.args[0]) if marker else TEST_SECONDS

    def fail(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail(f"still running after {limit} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(limit)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def bankmirror_home() -> Iterator[Path]:
    """An empty home for an embedded PostgreSQL. Pytest's own directories are closed to all but their user."""
    home = Path(tempfile.mkdtemp(prefix="bankmirror-home-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A server's URL, as one who may create databases and roles."""
    if given := os.environ.get("BANKMIRROR_TEST_DATABASE_URL"):
        yield given
    elif _docker_answers():
        yield from _container()
    else:
        yield from _embedded()


def _docker_answers() -> bool:
    """Whether a daemon listens. Its client library would take long to tell, and leave a socket open."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True  # Somebody has named a daemon; if it is not there, they will want to know.
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError:
            return False
    return True


def _container() -> Iterator[str]:
    # Here: few runs need it, and it takes a second.
    from testcontainers.community.postgres import PostgresContainer

    settings = [word for name, value in THROWAWAY.items() for word in ("-c", f"{name}={value}")]
    # The client library leaves sockets for the garbage collector, which would be some later test's error.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        container = PostgresContainer("postgres:18", driver=None).with_command(["postgres", *settings])
        container.start()
        gc.collect()
    try:
        yield container.get_connection_url()
    finally:
        container.stop()


def _embedded() -> Iterator[str]:
    _remove_abandoned()
    home = Path(tempfile.mkdtemp(prefix=_HOME_PREFIX))
    home.chmod(0o755)
    try:
        with EmbeddedPostgres.start(home, settings=THROWAWAY) as server:
            yield server.url()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _remove_abandoned() -> None:
    """End the servers of runs that were killed. One in use holds its home's lock: starting it is refused."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_HOME_PREFIX}*/postgres.lock"):
        with suppress(PostgresError):
            EmbeddedPostgres.start(lock.parent, settings=THROWAWAY).stop()
            shutil.rmtree(lock.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def administrator(server_url: str) -> Iterator[Administrator]:
    """A connection that creates and drops databases."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def template_database(server_url: str, administrator: Administrator) -> Iterator[str]:
    """The name of a migrated database, to be copied and not to be connected to."""
    # Here, so that tests of the server alone run without the schema.
    from schema.migrate import upgrade

    name = f"bankmirror_template_{secrets.token_hex(4)}"
    _execute(administrator, "CREATE DATABASE {}", name)
    try:
        upgrade(_at(server_url, name))
        # A database that somebody is connected to cannot be copied.
        _execute(administrator, "ALTER DATABASE {} ALLOW_CONNECTIONS false", name)
        yield name
    finally:
        _execute(administrator, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def _template_grants(administrator: Administrator, template_database: str) -> list[LiteralString]:
    """What the migrations granted on the database itself. CREATE DATABASE copies everything but that."""
    rows = administrator.execute(
        """
        SELECT format('GRANT %%s ON DATABASE {} TO %%s', privilege_type,
                      CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
          FROM pg_database, aclexplode(datacl)
         WHERE datname = %s
        """,
        [template_database],
    ).fetchall()
    return ["REVOKE ALL ON DATABASE {} FROM PUBLIC", *(grant for (grant,) in rows)] if rows else []


@pytest.fixture
def database_url(
    server_url: str,
    administrator: Administrator,
    template_database: str,
    _template_grants: list[LiteralString],
) -> Iterator[str]:
    """A freshly migrated database of the test's own."""
    yield from _copy(server_url, administrator, template_database, _template_grants)


@pytest.fixture(scope="module")
def module_database_url(
    server_url: str,
    administrator: Administrator,
    template_database: str,
    _template_grants: list[LiteralString],
) -> Iterator[str]:
    """A freshly migrated database for all tests of a file, which only read in it once it is filled."""
    yield from _copy(server_url, administrator, template_database, _template_grants)


def _copy(server_url: str, administrator: Administrator, template: str, grants: list[LiteralString]) -> Iterator[str]:
    name = f"t_{secrets.token_hex(6)}"
    _execute(administrator, "CREATE DATABASE {} TEMPLATE {}", name, template)
    try:
        for grant in grants:
            _execute(administrator, grant, name)
        yield _at(server_url, name)
    finally:
        _execute(administrator, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
async def connect(database_url: str) -> AsyncIterator[Connect]:
    """See `Connect`."""
    async with AsyncExitStack() as connections:

        async def open_connection(role: str | None = None, *, autocommit: bool = True) -> Connection:
            options = conninfo_to_dict(database_url).get("options") or ""
            as_role = f"{options} -c role={role}" if role else options
            connection = await AsyncConnection.connect(database_url, options=as_role, autocommit=autocommit)
            return await connections.enter_async_context(connection)

        yield open_connection


def _at(server_url: str, database: str) -> str:
    return urlsplit(server_url)._replace(path=f"/{database}").geturl()


def _execute(administrator: Administrator, statement: LiteralString, *databases: str) -> None:
    administrator.execute(sql.SQL(statement).format(*map(sql.Identifier, databases)))
