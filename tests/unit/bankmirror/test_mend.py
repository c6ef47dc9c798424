"""Errors as an operator reads them: what, the mend, no secret, and no swallowed bug."""

from pathlib import Path

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from pydantic import SecretStr
from sqlalchemy.exc import ProgrammingError

from bankmirror.mend import explain
from bankmirror.settings import UpSettings, load
from banks.ports import BankRefusedCredentials, BankUnreachable
from ingest.settings import IngestSettings
from kernel.errors import StartupError
from transfers.settings import TransfersSettings

SAID = [
    ('connection failed: FATAL:  password authentication failed for user "u"', "password in DATABASE_URL"),
    ('connection failed: FATAL:  database "x" does not exist', "createdb"),
    ('connection failed: FATAL:  role "bankmirror_reader" does not exist', "bankmirror migrate"),
    ('connection failed: FATAL:  role "nobody" does not exist', "correct the user"),
    (
        "failed to resolve host 'nowhere.invalid': [Errno -2] Name or service not known",
        "start that PostgreSQL",
    ),
    ("connection failed: FATAL:  sorry, too many clients already", "max_connections"),
]


@pytest.mark.parametrize(("said", "mend"), SAID)
def test_what_libpq_says_has_a_mend(said: str, mend: str) -> None:
    """Each reason not to be let in has another remedy."""
    told = explain(psycopg.OperationalError(said))

    assert told is not None
    assert mend in told.mend
    assert "\n" not in (told.detail or "")


@pytest.mark.parametrize("prefix", ["connection failed: ", "connection is bad: "])
def test_what_libpq_says_keeps_its_sense(prefix: str) -> None:
    """Who does not answer is said in a sentence, without the hints below it."""
    said = 'connection to server at "127.0.0.1", port 1 failed: Connection refused'

    told = explain(psycopg.OperationalError(f"{prefix}{said}\n\tIs the server running on that host?"))

    assert told is not None
    assert told.detail == f"the database does not answer: {said}"


def test_what_stops_a_migration_has_a_mend() -> None:
    """What SQLAlchemy wraps is told as if it were not wrapped; what it raises by itself is a bug of ours."""
    for inside, mend in (
        (psycopg.errors.DuplicateTable('relation "accounts" already exists'), "restore a backup"),
        (psycopg.errors.InsufficientPrivilege("permission denied to create role"), "may make roles"),
    ):
        told = explain(ProgrammingError("CREATE …", None, inside))

        assert told is not None
        assert str(inside) in (told.detail or "")
        assert mend in told.mend
    assert explain(ProgrammingError("CREATE …", None, psycopg.errors.SyntaxError("no"))) is None


def test_other_errors_of_the_outside() -> None:
    """The bank, the pool, a path, and several at once."""
    key = explain(BankRefusedCredentials("HTTP 401"))
    assert key is not None
    assert "BANK_API_KEY" in key.mend
    assert explain(PoolTimeout("x")) is not None
    assert explain(PermissionError(13, "Permission denied", "/root/x")) is not None
    group = ExceptionGroup("start", [BankUnreachable("ConnectError"), BankUnreachable("ConnectError")])
    told = explain(group)
    assert told is not None
    assert told.detail == "the bank cannot be read: ConnectError"


def test_a_bug_is_not_explained_away() -> None:
    """What is our own fault keeps its traceback, also when it comes together with what is not."""
    assert explain(ValueError("no")) is None
    assert explain(psycopg.errors.UniqueViolation("twice")) is None
    assert explain(ExceptionGroup("start", [BankUnreachable("x"), TypeError("bug")])) is None


def test_settings_are_named_as_the_operator_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable, and never the value: it may be a secret."""
    for name in ("DATABASE_URL", "BANK_API_BASE_URL", "BANK_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BANKMIRROR_POLL_SECONDS", "hunter2")

    with pytest.raises(StartupError) as raised:
        load(IngestSettings)

    for name in ("DATABASE_URL", "BANK_API_BASE_URL", "BANK_API_KEY", "BANKMIRROR_POLL_SECONDS"):
        assert name in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_own_words_of_a_validator_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence of ours is told as it is."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://x")
    monkeypatch.setenv("BANK_API_BASE_URL", "https://bank.example")
    monkeypatch.setenv("BANK_API_KEY", "k")
    monkeypatch.setenv("BANKMIRROR_TRANSFERS_RESEND_AFTER_SECONDS", "1")

    with pytest.raises(StartupError, match=r"^BANKMIRROR_TRANSFERS_RESEND_AFTER_SECONDS must not be below"):
        load(TransfersSettings)


def test_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """`DATABASE_URL=` in a copied .env means that there is no database."""
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("BANKMIRROR_API_TOKEN", "t" * 32)

    settings = load(UpSettings)

    assert settings.database_url is None
    assert settings.api_token == SecretStr("t" * 32)


def test_what_a_flag_gave_is_told_by_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who typed `--port` is not told of a variable, and who set the variable not of `--port`."""
    with pytest.raises(StartupError, match=r"^--port: Input should be less than"):
        load(UpSettings, {"port": 99_999})
    monkeypatch.setenv("BANKMIRROR_PORT", "99999")
    with pytest.raises(StartupError, match=r"^BANKMIRROR_PORT: Input should be less than"):
        load(UpSettings, {"port": None})


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"A=1\nnot a setting\n", r"\.env, line 2: not a setting"), (b"A=\xff\n", r"\.env is not UTF-8 text")],
)
def test_dotenv_that_cannot_be_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, said: str
) -> None:
    """The file and the line are named; a line that is skipped in silence may have held the token."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(text)

    with pytest.raises(StartupError, match=said):
        load(UpSettings)


def test_dotenv_with_everything_that_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments, exports, quotes over lines, blank values."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("# ours\n\nexport BANKMIRROR_PORT='8123' # port\nA=\nB=\"1\n2\"\n")

    assert load(UpSettings).port == 8123
