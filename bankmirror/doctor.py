"""`bankmirror doctor`: checks everything in order, and says what is wrong and how to mend it."""

import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg import AsyncConnection
from rich.console import Console
from rich.text import Text

from bankmirror import settings, store
from bankmirror.bank import Look, look
from bankmirror.command import as_typed
from bankmirror.database import SERVER_VERSION_MIN, check_schema
from bankmirror.home import Home
from bankmirror.mend import explain
from bankmirror.plain import counted
from bankmirror.ports import is_taken
from bankmirror.registry import check_values, find_strange, given_names, known_names
from bankmirror.settings import UpSettings
from bankmirror.status import age
from banks.settings import BankSettings
from kernel.database import INGEST, READER, TRANSFERS, conninfo
from kernel.errors import StartupError
from kernel.log import configure_log
from kernel.settings import is_loopback, secret

_PYTHON_MIN = (3, 11)
# Clocks further apart than this make freshness and leases look other than they are.
_SKEW_MAX = timedelta(seconds=5)
# A bank's answer travels, and the Date header has whole seconds.
_BANK_SKEW_MAX = timedelta(seconds=30)
# A transfer whose outcome nobody knows for longer than this needs a person's eye. Seconds.
_UNKNOWN_SECONDS_MAX = 300
_RIGHTS = {
    READER.role: {"reads": True, "mirrors": False, "transfers": False},
    INGEST.role: {"reads": True, "mirrors": True, "transfers": False},
    TRANSFERS.role: {"reads": False, "mirrors": False, "transfers": True},
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. `ask` returns what is well, or raises what is wrong. `needs` are checks."""

    title: str
    ask: Callable[["Patient"], Awaitable[str]]
    needs: tuple[str, ...] = ()


class Patient:
    """What the checks look at, and what earlier ones found out for later ones."""

    def __init__(self, given: UpSettings) -> None:
        self.given = given
        self.home = Home(given.home)
        self.running = self.home.find_running()
        self.bank: Look | None = None

    @property
    def database_url(self) -> str:
        return settings.database_url(self.given)


async def examine() -> int:
    """Print a line for each check; 1 if anything is wrong, else 0."""
    configure_log("doctor", "error", "console")
    console = Console(highlight=False)
    try:
        patient = Patient(settings.load(UpSettings))
    except StartupError as error:
        _print(console, "✗", "settings", str(error.detail), error.mend)
        return 1
    settings.adopt_running()
    wrong: set[str] = set()
    for check in CHECKS:
        if blocked := [title for title in check.needs if title in wrong]:
            wrong.add(check.title)
            _print(console, "·", check.title, f"not asked, because of: {blocked[0]}")
            continue
        try:
            _print(console, "✓", check.title, await check.ask(patient))
        except Exception as error:
            told = explain(error)
            if told is None:
                raise
            wrong.add(check.title)
            _print(console, "✗", check.title, told.detail or "", told.mend)
    return 1 if wrong else 0


def _print(console: Console, mark: str, title: str, says: str, mend: str = "") -> None:
    style = {"✓": "green", "✗": "red"}.get(mark, "dim")
    console.print(Text.assemble((mark, style), " ", (title.ljust(13), "bold"), says), soft_wrap=True)
    if mend:
        console.print(Text.assemble(" " * 15, ("mend: ", "yellow"), as_typed(mend)), soft_wrap=True)


async def _python(_: Patient) -> str:
    if sys.version_info < _PYTHON_MIN:
        raise StartupError(f"Python {platform.python_version()} is too old", "use Python 3.11 or newer")
    return platform.python_version()


async def _settings(_: Patient) -> str:
    if strange := find_strange():
        raise strange
    check_values()
    return f"{len(given_names() & known_names())} set, all known and well-formed"


async def _writable(patient: Patient) -> str:
    path = patient.home.path
    existing = next(step for step in (path, *path.parents) if step.exists())
    with tempfile.TemporaryFile(dir=existing):
        pass
    return f"{path}" if path == existing else f"{path} can be made"


async def _database(patient: Patient) -> str:
    found = await store.ask(patient.database_url, "database_describe")
    if found["version_num"] < SERVER_VERSION_MIN * 10_000:
        raise StartupError(f"PostgreSQL {found['version']} is too old", f"use PostgreSQL {SERVER_VERSION_MIN} or newer")
    skew = abs(found["now"] - datetime.now(UTC))
    if skew > _SKEW_MAX:
        raise StartupError(f"its clock is {age(skew.total_seconds())} away from ours", "set both by NTP")
    return f"PostgreSQL {found['version']}, database {found['name']}"


async def _schema(patient: Patient) -> str:
    return check_schema(patient.database_url) or "not to be seen by this login"


async def _roles(patient: Patient) -> str:
    sessions = (INGEST, READER, TRANSFERS)
    for session in sessions:
        await (await AsyncConnection.connect(conninfo(patient.database_url, session))).close()
    async with await store.connect(patient.database_url) as connection:
        rows = await store.fetch_all(connection, "privileges_check", roles=[session.role for session in sessions])
    for row in rows:
        name = row.pop("role_name")
        if row != _RIGHTS[name]:
            found = ", ".join(f"{right}: {has}" for right, has in row.items() if has != _RIGHTS[name][right])
            raise StartupError(
                f"{name} has other rights than the schema gives it ({found})", "see docs/reference/roles.md"
            )
    return "ingest, reader, transfers: each can be entered, and may do its own work only"


async def _bank(patient: Patient) -> str:
    if patient.given.bank_api_base_url is None and not (patient.running and patient.running.sandbox_url):
        if patient.running:
            raise StartupError("`up` has not started its bank yet", "try again in a moment")
        raise StartupError(
            "`up` is not running in this home, and BANK_API_BASE_URL is not set",
            "start `bankmirror up`, or set BANK_API_BASE_URL and BANK_API_KEY",
        )
    patient.bank = await look(settings.load(BankSettings, **{"DATABASE_URL": patient.database_url}))
    ahead = patient.bank.ahead
    if ahead is not None and abs(ahead) > _BANK_SKEW_MAX:
        raise StartupError(
            f"its clock is {age(abs(ahead.total_seconds()))} away from ours", "set this machine's by NTP"
        )
    return str(patient.bank)


async def _feeds(patient: Patient) -> str:
    async with await store.connect(patient.database_url) as connection:
        feeds = await store.fetch_all(connection, "feeds_summarize")
    if not feeds:
        raise StartupError("nothing has been read from the bank yet", "start `bankmirror up` or `bankmirror ingest`")
    if overdue := [feed for feed in feeds if feed["overdue"]]:
        raise StartupError(f"{overdue[0]['feed']}: nobody polls", "start `bankmirror ingest`, or read its log")
    if bad := [feed for feed in feeds if feed["verdict"] != "fresh"]:
        said = bad[0]["reason"] or f"{bad[0]['feed']} is {bad[0]['verdict']}"
        raise StartupError(said, mend_of(bad[0]["remedy"]))
    return ", ".join(f"{feed['feed']} {age(feed['age_seconds'])} old" for feed in feeds)


def mend_of(remedy: str | None) -> str:
    """What an operator does about a feed. Its remedy is written for readers of answers; commands in it are for us."""
    if remedy and "`bankmirror " in remedy:
        return remedy
    return "read the log of ingest; `bankmirror status` shows the last polls"


async def _leases(patient: Patient) -> str:
    async with await store.connect(patient.database_url) as connection:
        feeds = await store.fetch_all(connection, "feeds_summarize")
    abandoned = sum(feed["abandoned"] for feed in feeds)
    if abandoned:
        raise StartupError(
            f"{abandoned} feeds were left by a process that died", "start `bankmirror ingest`; it takes over"
        )
    return "none left behind"


async def _quarantine(patient: Patient) -> str:
    rows = await store.ask(patient.database_url, "rows_count")
    if rows["quarantined"]:
        raise StartupError(
            f"{rows['quarantined']} rows of the bank could not be read, and answers say partial",
            "look at them: `bankmirror quarantine list`",
        )
    return "empty"


async def _transfers(patient: Patient) -> str:
    async with await store.connect(patient.database_url) as connection:
        states = {row["state"]: row for row in await store.fetch_all(connection, "transfers_summarize")}
    if review := states.get("manual_review"):
        raise StartupError(
            f"{review['transfers']} transfers wait for a person's decision", "look at transfer.transfers"
        )
    unknown = states.get("unknown")
    if unknown and unknown["oldest_seconds"] > _UNKNOWN_SECONDS_MAX:
        raise StartupError(
            f"{unknown['transfers']} transfers have no known outcome, for {age(unknown['oldest_seconds'])}",
            "see that `bankmirror transfers` runs and reaches the bank; it asks again by itself",
        )
    return f"{sum(row['transfers'] for row in states.values())}, none in doubt"


async def _port(patient: Patient) -> str:
    if patient.running is not None:
        return f"up runs (pid {patient.running.supervisor.pid}) at {patient.running.url or 'no address yet'}"
    if is_taken(patient.given.host, patient.given.port):
        raise StartupError(
            f"port {patient.given.port} is taken by another program",
            "stop it, or let `bankmirror up` take the next one",
        )
    return f"{patient.given.port} is free"


async def _exposure(patient: Patient) -> str:
    given = patient.given
    if given.api_token is not None:
        if len(secret(given.api_token)) < 32:
            raise StartupError("BANKMIRROR_API_TOKEN is shorter than 32 characters", 'use "$(openssl rand -hex 32)"')
        return f"a token is asked for on {given.host}"
    if given.is_live:
        tokens = await store.ask(patient.database_url, "tokens_count", environment="live")
        if not tokens["good"]:
            raise StartupError(
                "no token exists yet, so that nobody is answered",
                "make one: `bankmirror token create NAME`; for `up`, which asks itself, set BANKMIRROR_API_TOKEN",
            )
        return f"tokens are asked for on {given.host}; {counted(tokens['good'], 'token')} in use"
    if not is_loopback(given.host):
        raise StartupError(
            f"no token is set, so that nothing will serve on {given.host}",
            'make one: export BANKMIRROR_API_TOKEN="$(openssl rand -hex 32)"',
        )
    return f"no token needed: the sandbox bank, on {given.host} only"


CHECKS = (
    Check("Python", _python),
    Check("settings", _settings),
    Check("home", _writable),
    Check("database", _database),
    Check("schema", _schema, ("database",)),
    Check("roles", _roles, ("database", "schema")),
    Check("bank", _bank, ("database",)),
    Check("feeds", _feeds, ("database", "schema")),
    Check("leases", _leases, ("database", "schema")),
    Check("quarantine", _quarantine, ("database", "schema")),
    Check("transfers", _transfers, ("database", "schema")),
    Check("port", _port),
    Check("exposure", _exposure, ("database", "schema")),
)
