"""What grows with the mirror and what does not: mirrors of several sizes, and the same small change to each."""

import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import httpx
import psycopg

from bankmirror.postgres import EmbeddedPostgres
from benchmarks.processes import Measured, bank, measure
from benchmarks.side import checkpoint, drop_database, fresh_database

SIZES = (100_000, 1_000_000)
# Polls of 100 changes at each size; the median is told. The first, on cold caches, is not counted.
POLLS = 9
COMMAND = [sys.executable, "-m", "bankmirror"]

# From the claim to the last changeset of the newest run, in which fetching is included.
_POLL_SECONDS = """
SELECT extract(epoch FROM finished_at - started_at)::float8, rows_changed, outcome
  FROM sync.runs WHERE feed = 'transactions' ORDER BY run_id DESC LIMIT 1"""
_REFRESH_SECONDS = """
SELECT extract(epoch FROM finished_at - started_at)::float8
  FROM read.refreshes WHERE view_name = 'daily_cash_flow' ORDER BY refresh_id DESC LIMIT 1"""


class Grown(NamedTuple):
    """One size: how fast it was mirrored, with how much memory, and what 100 changes cost then."""

    rows: int
    backfill_seconds: float
    peak_bytes: int | None
    poll_seconds: float
    refresh_seconds: float


class _Mirror(NamedTuple):
    """A mirror with its bank, and what a command needs to be told to find both."""

    rows: int
    bank_url: str
    database_url: str
    backfill: Measured

    @property
    def told(self) -> dict[str, str]:
        return _told(self.bank_url, self.database_url)


def grow(server: EmbeddedPostgres, sizes: Sequence[int], changes: int, say: Callable[[str], None]) -> list[Grown]:
    """Mirrors of all sizes from nothing; then polls of each in turn, so that a busy moment of the machine hits all."""
    with ExitStack() as banks:
        mirrors = [_backfill(server, rows, banks.enter_context(bank(rows)), say) for rows in sizes]
        costs: dict[int, list[tuple[float, float]]] = {rows: [] for rows in sizes}
        checkpoint(server)
        for number in range(POLLS + 1):
            say(f"poll {number} of {POLLS} at each size")
            for mirror in mirrors:
                httpx.post(f"{mirror.bank_url}/bench/changes", timeout=30).raise_for_status()
                measure([*COMMAND, "ingest", "once"], mirror.told)
                costs[mirror.rows].append(_costs(mirror.database_url, changes))
    grown = []
    for mirror in mirrors:
        poll, refresh = (statistics.median(seconds) for seconds in zip(*costs[mirror.rows][1:], strict=True))
        grown.append(Grown(mirror.rows, mirror.backfill.seconds, mirror.backfill.peak_bytes, poll, refresh))
        say(f"{mirror.rows:,} rows: {changes} changes in {poll * 1000:.0f} ms, refresh {refresh * 1000:.0f} ms")
        drop_database(server, f"growth_{mirror.rows}")
    return grown


def _backfill(server: EmbeddedPostgres, rows: int, bank_url: str, say: Callable[[str], None]) -> _Mirror:
    database_url = fresh_database(server, f"growth_{rows}")
    checkpoint(server)
    say(f"{rows:,} rows: backfill")
    backfill = measure([*COMMAND, "backfill"], _told(bank_url, database_url))
    memory = "" if backfill.peak_bytes is None else f", {backfill.peak_bytes / 2**20:.0f} MiB at most"
    say(f"{rows:,} rows: {rows / backfill.seconds:,.0f} rows/s ({backfill.seconds:.0f} s){memory}")
    # What autovacuum does within minutes, done before anything is measured, at every size.
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return _Mirror(rows, bank_url, database_url, backfill)


def _told(bank_url: str, database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "BANK_API_BASE_URL": bank_url, "BANK_API_KEY": "bench"}


def _costs(database_url: str, changes: int) -> tuple[float, float]:
    """Seconds of the newest poll of transactions, and of the newest refresh."""
    with psycopg.connect(database_url) as connection:
        poll = connection.execute(_POLL_SECONDS).fetchone()
        refresh = connection.execute(_REFRESH_SECONDS).fetchone()
    assert poll is not None
    assert refresh is not None
    if (poll[1], poll[2]) != (changes, "complete"):
        raise AssertionError(f"the poll was to find {changes} changes, and ended as {poll}")
    return poll[0], refresh[0]
