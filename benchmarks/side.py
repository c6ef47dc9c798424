"""The same rows from the same bank into the same server, four ways, in turn."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql

from bankmirror.postgres import EmbeddedPostgres
from benchmarks.bank import PAGE_ROWS
from benchmarks.processes import ROOT, measure
from schema.migrate import upgrade

# Of three, one disturbed round does not decide.
ROUNDS = 3
# Of 500 rows each. All of them would take minutes, and every page costs the same.
SQLALCHEMY_PAGES = 20
DLT_PYTHON = ROOT / ".venv" / "bench" / "bin" / "python"


class Way(NamedTuple):
    """A way to mirror: its name, what runs it and tells rows a second, and where its rows are."""

    name: str
    run: Callable[[str, str, int], float]
    table: str
    amount: str


class Side(NamedTuple):
    """What came out: for each way the rows a second of each round; and how many rows there are."""

    rows: int
    rates: dict[str, list[float]]

    def share_of(self, name: str, other: str) -> float:
        """How fast a way is, as a share of another: the median over the rounds, which each had both in turn."""
        pairs = zip(self.rates[name], self.rates[other], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def rate(self, name: str) -> float:
        """Rows a second in the median round."""
        return statistics.median(self.rates[name])


def mirror(bank_url: str, database_url: str, rows: int) -> float:
    """A whole `bankmirror backfill`, from the start of its process to the end."""
    told = {"DATABASE_URL": database_url, "BANK_API_BASE_URL": bank_url, "BANK_API_KEY": "bench"}
    return rows / measure([sys.executable, "-m", "bankmirror", "backfill"], told).seconds


def dlt(bank_url: str, database_url: str, rows: int) -> float:
    """A whole dlt pipeline, as its own process."""
    return rows / measure([str(DLT_PYTHON), "-m", "benchmarks.peers.dlt_merge", bank_url, database_url]).seconds


def sqlalchemy(bank_url: str, database_url: str, rows: int) -> float:
    """An upsert a row, as its own process: of the first pages only, since every page costs the same."""
    pages = min(rows // PAGE_ROWS, SQLALCHEMY_PAGES)
    command = [sys.executable, "-m", "benchmarks.peers.sqlalchemy_rows", bank_url, database_url, str(pages)]
    return pages * PAGE_ROWS / measure(command).seconds


def copy(_: str, database_url: str, rows: int) -> float:
    """The floor: the mirrored rows, encoded and in memory, by one COPY into an empty table with the same indexes."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        with connection.cursor().copy("COPY snapshot.transactions TO STDOUT (FORMAT binary)") as out:
            encoded = b"".join(out)
        connection.execute("CREATE TABLE floor (LIKE snapshot.transactions INCLUDING ALL)")
        began = time.perf_counter()
        with connection.cursor().copy("COPY floor FROM STDIN (FORMAT binary)") as into:
            into.write(encoded)
        return rows / (time.perf_counter() - began)


MIRROR, COPY, DLT, SQLALCHEMY = "bankmirror backfill", "COPY", "dlt, merge", "SQLAlchemy, row by row"
WAYS = (
    Way(MIRROR, mirror, "snapshot.transactions", "amount_minor"),
    Way(COPY, copy, "floor", "amount_minor"),
    Way(DLT, dlt, "bench.transactions", "amount_cents"),
    Way(SQLALCHEMY, sqlalchemy, "public.transactions", "amount_cents"),
)


def compare(server: EmbeddedPostgres, bank_url: str, rows: int, say: Callable[[str], None]) -> Side:
    """All ways in turn, each round in a database of its own; all that store everything must store the same money."""
    rates: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for number in range(ROUNDS):
        database_url = fresh_database(server, f"side_{number}")
        counted = set()
        for way in WAYS:
            checkpoint(server)
            rate = way.run(bank_url, database_url, rows)
            rates[way.name].append(rate)
            if way.name != SQLALCHEMY:
                counted.add(_count(database_url, way))
            say(f"round {number + 1} of {ROUNDS}: {way.name}: {rate:,.0f} rows/s")
        if len(counted) != 1 or next(iter(counted))[0] != rows:
            raise AssertionError(f"not every way stored the same {rows} rows: {counted}")
        drop_database(server, f"side_{number}")
    return Side(rows, rates)


def prepare_dlt() -> bool:
    """Whether dlt is installed where `make bench` puts it."""
    if not Path(DLT_PYTHON).exists():
        return False
    return subprocess.run([DLT_PYTHON, "-c", "import dlt"], capture_output=True, check=False).returncode == 0


def fresh_database(server: EmbeddedPostgres, name: str) -> str:
    """A migrated database; returns its URL."""
    server.create_database(name)
    upgrade(server.url(name))
    return server.url(name)


def checkpoint(server: EmbeddedPostgres) -> None:
    """Have nobody pay for what was written before."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Make room for the next one."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _count(database_url: str, way: Way) -> tuple[int, int]:
    """Rows and their sum. The names are ours, from WAYS."""
    query = sql.SQL("SELECT count(*), sum({}) FROM {}").format(
        sql.Identifier(way.amount), sql.Identifier(*way.table.split("."))
    )
    with psycopg.connect(database_url) as connection:
        found = connection.execute(query).fetchone()
        assert found is not None
        return int(found[0]), int(found[1])
