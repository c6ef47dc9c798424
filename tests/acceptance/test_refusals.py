"""What cannot start says so in a line, with the mend, and an exit code: never a traceback."""

import socket
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.system import System, run
from tests.waiting import free_port

CLOSED = "postgresql://nobody@127.0.0.1:1/nothing"
BANK = {
    "BANK_API_BASE_URL": "http://127.0.0.1:1",
    "BANK_API_KEY": "k" * 20,
    "BANKMIRROR_BANK_DEADLINE_SECONDS": "2",
}
LIVE = {**BANK, "BANKMIRROR_API_TOKEN": "t" * 40}


def refused(home: Path, *arguments: str, told: Mapping[str, str]) -> str:
    """What a command says that must not start: a line and its mend, on standard error only."""
    ended = run(home, *arguments, told=told)
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    what, mend = ended.stderr.splitlines()
    assert what.startswith("error: ")
    assert mend.startswith("  mend: ")
    return ended.stderr


@pytest.mark.parametrize("command", [["migrate"], ["status"], ["ingest", "once"], ["transfers"]], ids=" ".join)
def test_database_that_does_not_answer(bankmirror_home: Path, command: list[str]) -> None:
    """A wrong DATABASE_URL."""
    said = refused(bankmirror_home, *command, told={"DATABASE_URL": CLOSED, **LIVE})

    assert "the database does not answer" in said
    assert "DATABASE_URL" in said


def test_database_url_that_is_none(bankmirror_home: Path) -> None:
    """A malformed DATABASE_URL is not repeated: there may be a password in it."""
    said = refused(bankmirror_home, "status", told={"DATABASE_URL": "postgres//user:hunter2@host"})

    assert "DATABASE_URL is not a PostgreSQL URL" in said
    assert "hunter2" not in said


def test_no_database_at_all(bankmirror_home: Path) -> None:
    """Nothing set, nothing running."""
    assert "DATABASE_URL is not set" in refused(bankmirror_home, "status", told={})
    assert "DATABASE_URL is not set" in refused(bankmirror_home, "ingest", "once", told=LIVE)


@pytest.mark.parametrize("command", [["ingest"], ["backfill"], ["readapi"]], ids=" ".join)
def test_old_schema(bankmirror_home: Path, database_url: str, command: list[str]) -> None:
    """A database that an older version made: nothing works on it until it is migrated."""
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE public.alembic_version SET version_num = '0001'")

    said = refused(bankmirror_home, *command, told={"DATABASE_URL": database_url, **LIVE})

    assert "schema is old (0001;" in said
    assert "bankmirror migrate" in said


@pytest.mark.parametrize("command", [["migrate"], ["up"]], ids=" ".join)
def test_schema_of_a_newer_version(bankmirror_home: Path, database_url: str, command: list[str]) -> None:
    """Nothing is migrated; `status` still looks, and says the database's revision, not the program's."""
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE public.alembic_version SET version_num = '9999'")

    ended = run(bankmirror_home, *command, told={"DATABASE_URL": database_url, **LIVE})
    status = run(bankmirror_home, "status", told={"DATABASE_URL": database_url})

    assert ended.returncode == 1
    what, mend = ended.stderr.splitlines()
    assert what.startswith("error: the database's schema is none that this version knows (9999,")
    assert "newer one" in mend
    assert "schema 9999" in status.stdout


def test_schema_that_is_further_than_its_revision(bankmirror_home: Path, database_url: str) -> None:
    """A version row that was set back, or to something that never was: one line, and nothing is changed."""
    for revision, said in (("0001", "is there already"), ("0000", "cannot be migrated")):
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE public.alembic_version SET version_num = %s", [revision])

        assert said in refused(bankmirror_home, "migrate", told={"DATABASE_URL": database_url})

        with psycopg.connect(database_url) as connection:
            found = connection.execute("SELECT version_num FROM public.alembic_version").fetchone()
        assert found == (revision,)


def test_status_before_the_first_migration(bankmirror_home: Path, database_url: str) -> None:
    """No table is missed in an error of the server's: the mend is to migrate."""
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP TABLE public.alembic_version")

    said = refused(bankmirror_home, "status", told={"DATABASE_URL": database_url})

    assert "no Bankmirror schema yet" in said
    assert "bankmirror migrate" in said


@pytest.mark.parametrize(
    ("flags", "told", "said"),
    [
        ([], {"BANKMIRROR_POLL_SECONDS": "-1"}, "error: BANKMIRROR_POLL_SECONDS: "),
        (["--accounts", "0"], {}, "error: --accounts: "),
        (["--port", "99999"], {}, "error: --port: "),
    ],
)
def test_up_refuses_before_it_starts_anything(
    bankmirror_home: Path, flags: list[str], told: dict[str, str], said: str
) -> None:
    """What a child would refuse seconds later, in a log."""
    assert refused(bankmirror_home, "up", *flags, told=told).startswith(said)
    assert not (bankmirror_home / "postgres").exists()


def test_up_tells_a_misspelt_setting(bankmirror_home: Path) -> None:
    """It is no reason not to start, and nobody looks for it later."""
    ended = run(bankmirror_home, "up", told={"DATABASE_URL": CLOSED, "BANKMIRROR_POLL_SECOND": "3"})

    assert "! BANKMIRROR_POLL_SECOND: no such setting; did you mean BANKMIRROR_POLL_SECONDS?" in ended.stdout


def test_unreachable_bank(bankmirror_home: Path, database_url: str) -> None:
    """A bank that does not answer: `up` does not start; `once` ends, and tells it feed by feed."""
    ended = run(bankmirror_home, "up", "--port", str(free_port()), told={"DATABASE_URL": database_url, **LIVE})
    assert ended.returncode == 1
    what, mend = ended.stderr.splitlines()
    assert what.startswith("error: the bank cannot be read")
    assert "BANK_API_BASE_URL" in mend
    assert "✗ bank" in ended.stdout
    assert "Traceback" not in ended.stdout

    once = run(bankmirror_home, "ingest", "once", told={"DATABASE_URL": database_url, **BANK})
    assert once.returncode == 1
    assert "✗ accounts: bank-unreachable" in once.stdout
    assert "mend: check BANK_API_BASE_URL" in once.stdout
    assert "Traceback" not in once.stdout + once.stderr


def test_live_mode_without_a_token(bankmirror_home: Path) -> None:
    """Real money is not served to whoever finds the port."""
    said = refused(bankmirror_home, "up", told=BANK)

    assert "a token is required in live mode" in said
    assert "openssl rand -hex 32" in said
    assert not (bankmirror_home / "postgres").exists(), "nothing was started"


def test_settings_that_are_missing_or_malformed(bankmirror_home: Path, database_url: str) -> None:
    """Each is named as the operator names it, all at once."""
    said = refused(bankmirror_home, "ingest", told={"DATABASE_URL": database_url})
    assert "BANK_API_BASE_URL is not set; BANK_API_KEY is not set" in said

    more = {"BANKMIRROR_LOG_LEVEL": "loud", "BANKMIRROR_READAPI_PORT": "many"}
    said = refused(bankmirror_home, "readapi", told={"DATABASE_URL": database_url, **more})
    assert "BANKMIRROR_LOG_LEVEL" in said
    assert "BANKMIRROR_READAPI_PORT" in said


def test_taken_port(bankmirror_home: Path, database_url: str) -> None:
    """A process of its own does not look for another port: somebody else knows it by this one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        more = {"BANKMIRROR_READAPI_PORT": str(port), "BANKMIRROR_MODE": "sandbox"}
        said = refused(bankmirror_home, "readapi", told={"DATABASE_URL": database_url, **more})

    assert f"port {port} on 127.0.0.1 is taken" in said
    assert "BANKMIRROR_READAPI_PORT" in said


def test_verbose_shows_the_traceback(bankmirror_home: Path) -> None:
    """For whoever wants to see where it came from."""
    ended = run(bankmirror_home, "--verbose", "status", told={"DATABASE_URL": CLOSED})

    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "psycopg.OperationalError" in ended.stderr


def test_doctor_names_what_is_wrong_and_the_mend(bankmirror_home: Path, database_url: str) -> None:
    """A line for each check, and exit code 1 if any is ✗."""
    broken = run(bankmirror_home, "doctor", told={"DATABASE_URL": CLOSED, "BANKMIRROR_POLL_SECOND": "5"})
    assert broken.returncode == 1
    assert "did you mean BANKMIRROR_POLL_SECONDS?" in broken.stdout
    assert "✗ database" in broken.stdout
    assert "· schema" in broken.stdout, "not asked, since the database does not answer"
    without_up = run(bankmirror_home, "doctor", told={"DATABASE_URL": database_url})
    assert "✗ bank         `up` is not running in this home" in without_up.stdout

    with psycopg.connect(database_url) as connection:
        connection.execute("GRANT INSERT ON transfer.transfers TO bankmirror_reader")
    excessive = run(bankmirror_home, "doctor", told={"DATABASE_URL": database_url, **LIVE})
    assert excessive.returncode == 1
    assert "bankmirror_reader has other rights" in excessive.stdout
    assert "✗ bank" in excessive.stdout
    assert "✓ schema" in excessive.stdout


def test_doctor_and_status_beside_a_running_system(shared_system: System) -> None:
    """Nothing need be set: they find the `up` that runs in the home, and all is well."""
    doctor = run(shared_system.home, "doctor")
    status = run(shared_system.home, "status")

    assert (doctor.returncode, doctor.stdout.count("✓"), doctor.stdout.count("✗")) == (0, 13, 0), doctor.stdout
    assert status.returncode == 0
    assert shared_system.url in status.stdout
    assert "transactions  fresh" in status.stdout
