"""Load on a server by wrk, and what it cost the server: requests a second, latencies, and processor time.

Requests a second say what a caller sees; the processor time of a request is the steadier measure, as it does not count
the time in which somebody else had the machine.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

SCRIPT = Path(__file__).parent / "load.lua"
MISSING = (
    "wrk is not installed, which makes the load of the reading part.\n"
    "  Debian, Ubuntu: apt-get install wrk     macOS: brew install wrk     others: https://github.com/wg/wrk\n"
    "BANKMIRROR_BENCH_ONLY=mirroring make bench measures the rest without it."
)


class Asked(NamedTuple):
    """What is asked for again and again: a path, in which %04d stands for one of `variety` numbers, drawn each time."""

    path: str
    variety: int = 1
    headers: Mapping[str, str] = {}
    # Sent as JSON by POST.
    body: str | None = None
    # Never the same path twice: %04d goes through all numbers in turn, and %d counts the rounds, from this path on.
    each_from: int | None = None


class Load(NamedTuple):
    """What came of it. Latencies are in milliseconds, processor time is of the whole load."""

    requests: int
    seconds: float
    p50: float
    p90: float
    p99: float
    failed: int
    server_cpu_seconds: float
    database_cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds

    @property
    def server_cpu_micros(self) -> float:
        """Microseconds of the server's processor time for a request."""
        return self.server_cpu_seconds / self.requests * 1e6

    @property
    def cpu_micros(self) -> float:
        """Microseconds of processor time for a request, PostgreSQL's included."""
        return (self.server_cpu_seconds + self.database_cpu_seconds) / self.requests * 1e6


def is_installed() -> bool:
    """Whether wrk can be run."""
    return shutil.which("wrk") is not None


def put_load(
    url: str,
    asked: Asked,
    *,
    server: int,
    database: int,
    connections: int,
    seconds: float,
    may_refuse: bool = False,
) -> Load:
    """Ask a server for so long, over so many connections; `server` and `database` are the ids of the processes that it
    costs. Raises AssertionError if an answer was none, unless the server `may_refuse` what is too much for it.
    """
    headers = [option for name, value in asked.headers.items() for option in ("-H", f"{name}: {value}")]
    told = [asked.path, str(asked.variety)]
    if asked.each_from is not None:
        told += ["each", str(asked.each_from)]
    elif asked.body is not None:
        told += ["post", asked.body]
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds:.0f}s", "--timeout=30s"]
    processes = (psutil.Process(server), psutil.Process(database))
    before = [cpu_seconds(process) for process in processes]
    printed = _run([*command, *headers, f"--script={SCRIPT}", url, "--", *told])
    server_cpu, database_cpu = (cpu_seconds(process) - begun for process, begun in zip(processes, before, strict=True))
    load = Load(
        **json.loads(printed.splitlines()[-1]), server_cpu_seconds=server_cpu, database_cpu_seconds=database_cpu
    )
    if (load.failed and not may_refuse) or not load.requests:
        raise AssertionError(f"{load.failed} of {load.requests} answers failed: {asked.path}\n{printed}")
    return load


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of a process and of all that it started, those that have ended included."""
    used = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue  # It has ended since, and is in its parent's account.
        used += times.user + times.system + times.children_user + times.children_system
    return used


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
