"""What is measured runs in processes of its own: the bank, and each way to read it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

ROOT = Path(__file__).resolve().parent.parent
# Seconds between two looks at how much memory a process has used at most.
LOOK_SECONDS = 0.1


class Measured(NamedTuple):
    """How long a process ran, from its start to its end, and the most memory it held, where the system tells."""

    seconds: float
    peak_bytes: int | None


@contextmanager
def bank(rows: int) -> Iterator[str]:
    """The benchmark's bank with so many rows; yields its address."""
    command = [sys.executable, "-m", "benchmarks.bank", "--rows", str(rows)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        for _ in range(300):
            try:
                httpx.get(f"{url}/accounts", timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Measured:
    """Run a command to its end. Raises CalledProcessError, with what it printed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    peak = _Peak(process.pid)
    printed, _ = process.communicate()
    seconds = time.perf_counter() - began
    peak.stop()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, printed)
    return Measured(seconds, peak.bytes)


class _Peak:
    """Watches the peak of a process's memory. A parent's share that a fork leaves in `ru_maxrss` is not in it."""

    def __init__(self, pid: int) -> None:
        self.bytes: int | None = None
        self._status = Path(f"/proc/{pid}/status")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return  # It has ended, or this system has no such file.
            for line in lines:
                if line.startswith("VmHWM:"):
                    self.bytes = int(line.split()[1]) * 1024
