"""How fast a bank is mirrored, beside the floor: the same rows, by COPY, into the same indexed table, in one run.

`make bench` runs this and writes benchmarks/RESULTS.md. Machines differ and are shared: the ratio is what counts.
"""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg

from bankmirror.postgres import EmbeddedPostgres
from schema.migrate import upgrade

ROWS = int(os.environ.get("BANKMIRROR_BENCH_ROWS", "200000"))
# Pairs of runs; with three, one disturbed run does not decide.
PAIRS = 3
PORT = 9321
RESULTS = Path(__file__).with_name("RESULTS.md")
COMMAND = [sys.executable, "-m", "bankmirror"]


@contextmanager
def bank(server: EmbeddedPostgres) -> Iterator[str]:
    """The sandbox with its whole history, and nothing happening; yields its address."""
    server.create_database("bank")
    flags = ["--database-url", server.url("bank"), "--port", str(PORT), "--transactions", str(ROWS)]
    process = subprocess.Popen(
        [*COMMAND, "sandbox", *flags, "--no-life", "--rate-limit-per-second", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{PORT}"
        for _ in range(600):
            try:
                httpx.get(f"{url}/health", timeout=1)
                break
            except httpx.TransportError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait()


def mirror_seconds(database_url: str, bank_url: str) -> float:
    """A whole `bankmirror backfill`, from starting the process to its end."""
    upgrade(database_url)
    told = {"DATABASE_URL": database_url, "BANK_API_BASE_URL": bank_url, "BANK_API_KEY": "sandbox-key"}
    began = time.perf_counter()
    subprocess.run([*COMMAND, "backfill"], env={**os.environ, **told}, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def copy_seconds(database_url: str) -> tuple[float, int]:
    """COPY of the mirrored rows into an empty table with the same indexes; and how many rows that were."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        with connection.cursor().copy("COPY snapshot.transactions TO STDOUT (FORMAT binary)") as out:
            rows = b"".join(out)
        connection.execute("CREATE TABLE floor (LIKE snapshot.transactions INCLUDING ALL)")
        began = time.perf_counter()
        with connection.cursor().copy("COPY floor FROM STDIN (FORMAT binary)") as into:
            into.write(rows)
        seconds = time.perf_counter() - began
        counted = connection.execute("SELECT count(*) FROM floor").fetchone()
        assert counted is not None
        return seconds, counted[0]


def machine() -> str:
    """What this ran on."""
    described = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in described if "model name" in line]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    """Measure in pairs, print, and write the results."""
    pairs: list[tuple[float, float, int]] = []
    with tempfile.TemporaryDirectory(prefix="bankmirror-bench-") as home:
        Path(home).chmod(0o755)
        with EmbeddedPostgres.start(Path(home)) as server, bank(server) as bank_url:
            for pair in range(PAIRS):
                server.create_database(f"mirror_{pair}")
                url = server.url(f"mirror_{pair}")
                mirrored = mirror_seconds(url, bank_url)
                copied, rows = copy_seconds(url)
                pairs.append((mirrored, copied, rows))
                speeds = f"mirror {rows / mirrored:,.0f} rows/s, COPY {rows / copied:,.0f} rows/s"
                print(f"pair {pair + 1} of {PAIRS}: {speeds}", flush=True)
    ratio = statistics.median(copied / mirrored for mirrored, copied, _ in pairs)
    mirrored, copied, rows = sorted(pairs)[len(pairs) // 2]
    text = (
        "# Results\n\nWritten by `make bench`. Ratios count; the machine is one of many and shared.\n\n"
        f"{machine()}.\n\n"
        f"## Mirroring {rows:,} transactions\n\n"
        "From a bank over HTTP to committed rows with history, totals and freshness, as a whole process; beside a\n"
        "plain COPY of the same rows into the same indexed table.\n\n"
        "| | rows/s (median run) | share of COPY (median of pairs) |\n|---|---|---|\n"
        f"| `bankmirror backfill` | {rows / mirrored:,.0f} | {ratio:.2f} |\n"
        f"| COPY | {rows / copied:,.0f} | 1 |\n\n"
        "The bar is 0.4 of COPY. The sandbox bank and PostgreSQL share the cores with what is measured.\n"
    )
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
