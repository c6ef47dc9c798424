"""`bankmirror status`: how fresh the mirror is, what happened lately, and where everything is."""

import time
from typing import IO

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bankmirror import __version__, settings, store
from bankmirror.command import as_typed
from bankmirror.database import check_schema
from bankmirror.home import Home
from bankmirror.plain import counted
from bankmirror.settings import UpSettings

_RUNS = 5
# An error is told in so many characters; the log of ingest has the rest.
_ERROR_CELLS = 60
_FILE_CELLS = 1000
_VERDICT_STYLES = {"fresh": "green", "partial": "yellow", "stale": "red", "unknown": "red"}


async def show() -> None:
    """Print it. Raises StartupError or psycopg.Error."""
    given = settings.load(UpSettings)
    console = make_console()
    url = settings.database_url(given)
    revision = check_schema(url)
    async with await store.connect(url) as connection:
        database = await store.fetch_one(connection, "database_describe")
        console.print(_running(Home(given.home)), soft_wrap=True)
        about = f"PostgreSQL {database['version']}, database {database['name']}, {size(database['size_bytes'])}"
        console.print(f"{about}, schema {revision or 'not to be seen by this login'}", soft_wrap=True)
        for part in (_feeds, _rows, _runs, _transfers):
            console.print()
            await part(connection, console)


def make_console(file: IO[str] | None = None) -> Console:
    """Where it is printed: a terminal as wide as it is, and a file with no edge, since who greps wants whole rows."""
    console = Console(highlight=False, file=file)
    if not console.is_terminal:
        console.width = _FILE_CELLS
    return console


def _running(home: Home) -> Text:
    state = home.find_running()
    if state is None:
        return Text.assemble(("Bankmirror", "bold"), f" {__version__}, no `up` running in {home.path}")
    where = state.url or "starting"
    since = age(time.time() - state.supervisor.created)
    sandbox = f", sandbox bank at {state.sandbox_url}" if state.sandbox_url else ""
    living = {name: child.pid for name, child in state.children.items() if child.find()}
    pids = ", ".join(f"{name} {pid}" for name, pid in {"up": state.supervisor.pid, **living}.items())
    return Text.assemble(
        ("Bankmirror", "bold"), f" {__version__}, up for {since} at ", (where, "bold"), sandbox, f"\npids: {pids}"
    )


async def _feeds(connection: AsyncConnection[DictRow], console: Console) -> None:
    feeds = await store.fetch_all(connection, "feeds_summarize")
    if not feeds:
        console.print(
            as_typed("No feed yet: nothing has polled the bank. Start `bankmirror up` or `bankmirror ingest`.")
        )
        return
    table = _table("feed", "verdict", "confirmed", "next poll", "")
    for feed in feeds:
        due = feed["due_in_seconds"]
        following = f"in {age(due)}" if due > 0 else f"overdue by {age(-due)}" if feed["overdue"] else "now"
        name = feed["feed"] if feed["targets"] == 1 else f"{feed['feed']} ({feed['targets']:,} accounts)"
        confirmed = "never" if feed["age_seconds"] is None else f"{age(feed['age_seconds'])} ago"
        verdict = Text(feed["verdict"], _VERDICT_STYLES[feed["verdict"]])
        table.add_row(name, verdict, confirmed, following, feed["reason"] or "")
    console.print(table)


async def _rows(connection: AsyncConnection[DictRow], console: Console) -> None:
    rows = await store.fetch_one(connection, "rows_count")
    transactions = f"{rows['posted'] + rows['pending']:,} transactions ({rows['pending']:,} pending)"
    refused = f"{rows['quarantined']:,} in quarantine"
    console.print(f"Mirror: {counted(rows['accounts'], 'account')}, {transactions}, {refused}", soft_wrap=True)
    for view in await store.fetch_all(connection, "views_describe"):
        refreshed = "never refreshed" if view["age_seconds"] is None else f"refreshed {age(view['age_seconds'])} ago"
        waiting = "" if view["waiting_seconds"] is None else f", newer changes for {age(view['waiting_seconds'])}"
        console.print(f"View {view['view_name']}: {refreshed}{waiting}", soft_wrap=True)


async def _runs(connection: AsyncConnection[DictRow], console: Console) -> None:
    runs = await store.fetch_all(connection, "runs_recent", limit=_RUNS)
    if not runs:
        console.print("No poll has changed anything yet.")
        return
    table = _table("last changes", "outcome", "seen", "changed", "removed", "refused", "took", "when", "")
    for run in runs:
        took = "" if run["took_seconds"] is None else f"{run['took_seconds']:.2f} s"
        counts = [f"{run[name]:,}" for name in ("rows_seen", "rows_changed", "rows_removed", "rows_refused")]
        name = f"{run['feed']} {run['account_id']}".strip()
        table.add_row(name, run["outcome"], *counts, took, f"{age(run['age_seconds'])} ago", _cut(run["error"] or ""))
    console.print(table)


async def _transfers(connection: AsyncConnection[DictRow], console: Console) -> None:
    states = await store.fetch_all(connection, "transfers_summarize")
    counted = [f"{row['transfers']:,} {row['state']} (oldest {age(row['oldest_seconds'])})" for row in states]
    console.print("Transfers: " + (", ".join(counted) or "none yet"), soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        justify = "right" if name in ("seen", "changed", "removed", "refused", "took") else "left"
        # The last, nameless one is for words, and the only one that may be broken.
        table.add_column(name, justify=justify, no_wrap=bool(name))  # type: ignore[arg-type]  # a literal of rich's
    return table


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _ERROR_CELLS else f"{line[: _ERROR_CELLS - 1]}…"


def age(seconds: float) -> str:
    """A span of time as a person says it."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def size(number: int) -> str:
    """A number of bytes as a person says it."""
    amount = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
