"""The embedded PostgreSQL, with real servers that are really killed."""

import os
import pwd
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg
import pytest

from bankmirror import postgres_files, postgres_processes
from bankmirror.postgres import THROWAWAY, AlreadyRunning, EmbeddedPostgres, PostgresError, find_running
from bankmirror.postgres_files import Cluster

Start = Callable[..., EmbeddedPostgres]
OtherProcess = tuple["subprocess.Popen[str]", int]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another account for the server")

# Holds a home's server until it is killed.
OTHER_PROCESS = """
import sys, time
from pathlib import Path
from bankmirror.postgres import THROWAWAY, EmbeddedPostgres
server = EmbeddedPostgres.start(Path(sys.argv[1]), settings=THROWAWAY)
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """One home for the whole file, since making its data takes longest. Each test leaves it stopped."""
    with tempfile.TemporaryDirectory(prefix="bankmirror-home-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Starts servers that are stopped with the test, in the file's home if no other is named."""
    servers: list[EmbeddedPostgres] = []

    def start_server(where: Path = home, **settings: str) -> EmbeddedPostgres:
        servers.append(EmbeddedPostgres.start(where, settings={**THROWAWAY, **settings}))
        return servers[-1]

    yield start_server
    for server in servers:
        server.stop()


def execute(server: EmbeddedPostgres, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.kill()


@pytest.fixture
def other_process(home: Path) -> Iterator[OtherProcess]:
    """Another process that runs the home's server, and the server's pid."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def test_second_start_has_the_data_of_the_first(start: Start) -> None:
    """Data stays in the home, a clean stop waits for nothing, and stopping twice is harmless."""
    first = start()
    execute(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    before = time.monotonic()
    first.stop()
    assert time.monotonic() - before < 20
    first.stop()
    assert not first.is_alive()
    assert execute(start(), "SELECT answer FROM kept") == [(42,)]


def test_stop_does_not_wait_for_sessions(start: Start) -> None:
    """An open transaction of a client that hangs is ended by the stop."""
    server = start()
    with closing(psycopg.connect(server.url())) as connection:
        connection.execute("SELECT 1")
        before = time.monotonic()
        server.stop()
        assert time.monotonic() - before < 20


def test_server_is_the_same_on_every_machine(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time zone, encoding, sorting and settings come from us, not from the environment or the system."""
    for name, value in {"TZ": "Pacific/Chatham", "LC_ALL": "C", "PGPORT": "1", "PGDATA": "/"}.items():
        monkeypatch.setenv(name, value)
    server = start(work_mem="5MB")
    [row] = execute(
        server,
        """
        SELECT current_setting('timezone'), current_setting('work_mem'), current_setting('listen_addresses'),
               current_setting('data_checksums'), pg_encoding_to_char(encoding), datlocprovider, datlocale
          FROM pg_database WHERE datname = current_database()
        """,
    )
    assert row == ("UTC", "5MB", "", "on", "UTF8", "b", "C.UTF-8")


def test_socket_is_closed_to_others(start: Start, home: Path) -> None:
    """There is no password, so the socket's directory lets nobody in but the server's own account."""
    start()
    directory = home / "postgres"
    assert list(directory.glob(".s.PGSQL.*"))
    assert directory.stat().st_mode & 0o777 == 0o700


def test_create_database_twice(start: Start) -> None:
    """Creating a database that exists is no error, whatever its name."""
    server = start()
    for _ in range(2):
        server.create_database("of ours/ü")
    with psycopg.connect(server.url("of ours/ü")) as connection:
        assert connection.info.dbname == "of ours/ü"


def test_killed_server_is_reported_and_comes_back(start: Start) -> None:
    """A server that was killed says so; stopped and started again it has recovered what was committed."""
    server = start(synchronous_commit="on")
    execute(server, "CREATE TABLE committed AS SELECT 42 AS answer")
    kill([psutil.Process(server.pid)])
    psutil.Process(server.pid).wait(30)
    assert not server.is_alive()
    with pytest.raises(PostgresError, match="cannot create the database"):
        server.create_database("late")
    server.stop()
    assert execute(start(), "SELECT answer FROM committed") == [(42,)]


def test_everything_killed_at_once(start: Start, other_process: OtherProcess) -> None:
    """After kill -9 of our process, the server and all its children, the next start just works."""
    owner, server_pid = other_process
    kill([owner, *family(server_pid)])
    owner.wait()
    assert execute(start(), "SELECT 1") == [(1,)]


def test_backend_that_outlived_its_server_is_ended(start: Start) -> None:
    """A backend that has not noticed its server's death never writes beside the next server."""
    server = start()
    with closing(psycopg.connect(server.url())) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        backend.suspend()
        psutil.Process(server.pid).kill()
        server.stop()
        assert backend.is_running()
        assert execute(start(), "SELECT 1") == [(1,)]
        assert not backend.is_running() or backend.status() == psutil.STATUS_ZOMBIE


def test_server_that_outlived_its_owner_is_replaced(start: Start, home: Path, other_process: OtherProcess) -> None:
    """When only our process was killed its server runs on: the next start ends it, and starts its own."""
    owner, server_pid = other_process
    owner.kill()
    owner.wait()
    outlived = psutil.Process(server_pid)
    assert find_running(home) is not None
    server = start()
    assert server.pid != server_pid
    assert execute(server, "SELECT 1") == [(1,)]
    assert not outlived.is_running() or outlived.status() == psutil.STATUS_ZOMBIE


def test_stale_lock_files_with_the_pid_of_another(start: Start, home: Path) -> None:
    """Lock files of a killed server whose pid is now somebody else's keep nobody from starting."""
    server = start()
    cluster = Cluster(home / "postgres", None)
    lines = postgres_processes.pid_file(cluster).read_text().splitlines()
    server.stop()
    # A live process that is no server of ours, not even a child or parent of the one to be started.
    stale = "\n".join([str(os.getppid()), *lines[1:], ""])
    for lock_file in (postgres_processes.pid_file(cluster), cluster.path / ".s.PGSQL.5432.lock"):
        lock_file.write_text(stale)
        lock_file.chmod(0o600)
    (cluster.path / ".s.PGSQL.5432").touch()
    assert find_running(home) is None
    assert execute(start(), "SELECT 1") == [(1,)]


def test_killed_while_the_data_was_made(start: Start, bankmirror_home: Path) -> None:
    """A half-made data directory is not mistaken for a whole one."""
    half_made = postgres_files.find_cluster(bankmirror_home).path / "data.new.1"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")
    assert execute(start(bankmirror_home), "SELECT 1") == [(1,)]
    assert not half_made.exists()


def test_two_homes_at_once(start: Start, bankmirror_home: Path) -> None:
    """Servers of two homes have nothing to do with each other."""
    one, other = start(), start(bankmirror_home)
    execute(one, "CREATE TABLE only_here ()")
    assert execute(other, "SELECT to_regclass('only_here')") == [(None,)]


def test_one_home_twice(start: Start, home: Path, other_process: OtherProcess) -> None:
    """The second start is told who runs the home's server, and that server is not disturbed."""
    owner, server_pid = other_process
    with pytest.raises(AlreadyRunning, match=rf"already running \(pid {owner.pid}\)") as refused:
        start()
    assert "BANKMIRROR_HOME" in refused.value.mend
    url = find_running(home)
    assert url is not None
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert psutil.pid_exists(server_pid)


def test_ctrl_c_at_the_terminal_leaves_the_server_to_its_owner(start: Start) -> None:
    """A Ctrl-C goes to the foreground group: the server is not in it, and waits for our orderly stop."""
    assert os.getpgid(start().pid) != os.getpgid(0)


@pytest.mark.parametrize("name", ["sp ace, ünï-çødé", 'it\'s a "quote"', "deep/" + "d" * 120])
def test_any_path_will_do(start: Start, bankmirror_home: Path, name: str) -> None:
    """Spaces, quotes, letters beyond ASCII, and paths longer than a socket's may be."""
    server = start(bankmirror_home / name)
    assert execute(server, "SELECT 1") == [(1,)]


def test_socket_directory_of_somebody_else_is_refused(
    start: Start, bankmirror_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the socket must go to the shared temporary directory, one that others can enter is not used."""
    home = bankmirror_home / ("d" * 120)
    start(home).stop()
    directory = Path("/tmp") / Cluster((home / "postgres").resolve(), None).name
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    directory.mkdir(mode=0o777)
    try:
        with pytest.raises(PostgresError, match="is not ours alone"):
            start(home)
    finally:
        directory.rmdir()


@as_root
def test_root_changes_no_permissions_above_the_home(
    start: Start, bankmirror_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home that the server's account cannot reach stays closed: the data is elsewhere, and found again."""
    state = bankmirror_home / "state"
    monkeypatch.setattr(postgres_files, "ROOT_STATE", state)
    private = bankmirror_home / "private"
    private.mkdir(mode=0o700)
    server = start(private / "home")
    execute(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert execute(start(private / "home"), "SELECT answer FROM kept") == [(42,)]
    assert private.stat().st_mode & 0o777 == 0o700
    assert (private / "home" / "postgres").resolve().parent == state


@as_root
def test_root_copies_binaries_that_the_server_cannot_reach(
    start: Start, bankmirror_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a wheel below a closed directory the server is copied to where its account can run it."""
    state = bankmirror_home / "state"
    monkeypatch.setattr(postgres_files, "ROOT_STATE", state)
    can_enter = postgres_files._can_enter

    def can_enter_all_but_the_wheel(directory: Path, account: pwd.struct_passwd) -> bool:
        return "site-packages" not in directory.parts and can_enter(directory, account)

    monkeypatch.setattr(postgres_files, "_can_enter", can_enter_all_but_the_wheel)
    server = start(bankmirror_home)
    assert Path(psutil.Process(server.pid).exe()).is_relative_to(state)
    assert execute(server, "SELECT 1") == [(1,)]


@as_root
def test_root_runs_the_server_as_the_owner_of_the_data(start: Start, bankmirror_home: Path) -> None:
    """Data made by an ordinary user stays that user's when root starts the server."""
    home = bankmirror_home / "of-nobody"
    owner = pwd.getpwnam("nobody").pw_uid
    (home / "postgres").mkdir(parents=True, mode=0o700)
    os.chown(home / "postgres", owner, -1)
    server = start(home)
    assert psutil.Process(server.pid).uids().effective == owner
    assert server.log.stat().st_uid == owner


def test_data_of_another_major_version_is_refused(start: Start, home: Path) -> None:
    """Data that this server cannot read is left alone, and the error says what to do."""
    start().stop()
    version_file = home / "postgres" / "data" / "PG_VERSION"
    version_file.write_text("16\n")
    try:
        with pytest.raises(PostgresError, match="made by PostgreSQL 16, and this is PostgreSQL 18") as refused:
            start()
    finally:
        version_file.write_text("18\n")
    assert "dump it" in refused.value.mend


def test_failures_are_told_in_the_words_of_the_server(start: Start) -> None:
    """A server that does not start is an error with its own complaint, and leaves the home free."""
    with pytest.raises(PostgresError, match='unrecognized configuration parameter "no_such_setting"'):
        start(no_such_setting="1")
    assert start().is_alive()


def test_home_that_cannot_be_used(start: Start, bankmirror_home: Path) -> None:
    """What the file system refuses is one line with its mend."""
    (bankmirror_home / "file").touch()
    with pytest.raises(PostgresError, match="Not a directory") as refused:
        start(bankmirror_home / "file" / "home")
    assert "BANKMIRROR_HOME" in refused.value.mend


def test_interrupted_start_leaves_nothing_running(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the start ends what was started and lets go of the home."""

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(postgres_processes, "_is_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        EmbeddedPostgres.start(home, settings=THROWAWAY)
    assert postgres_processes.find(Cluster(home / "postgres", None)) == []
    monkeypatch.undo()
    EmbeddedPostgres.start(home, settings=THROWAWAY).stop()


def test_start_gives_up_in_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not become ready is ended, with an error that says how long was waited."""
    monkeypatch.setattr(postgres_processes, "_is_ready", lambda *_: False)
    with pytest.raises(PostgresError, match="not ready after 0 s"):
        EmbeddedPostgres.start(home, settings=THROWAWAY, timeout_seconds=0.1)
    assert postgres_processes.find(Cluster(home / "postgres", None)) == []
