"""What is measured runs in processes of its own: the bank, and each way to read it."""

import os
import socket
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


# Seconds that a server may take until it answers.
START_SECONDS = 60


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


class Server(NamedTuple):
    """A server under load: its address, and the process that answers."""

    url: str
    pid: int


@contextmanager
def serving(
    command: Sequence[str], port: int, environment: Mapping[str, str] | None = None, *, ready: str = "/health"
) -> Iterator[Server]:
    """A server of which a process is the whole; yields it once it answers on that port, in whatever way."""
    # Nothing of ours that the environment may say is measured by accident.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BANKMIRROR_")}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**kept, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    printed: list[bytes] = []
    # Read, or a talkative server would wait for us.
    reading = threading.Thread(target=lambda: printed.extend(process.stdout or ()), daemon=True)
    reading.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}{ready}", timeout=5)
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > deadline:
                    told = b"".join(printed[-20:]).decode(errors="replace")
                    raise AssertionError(f"{' '.join(command)} does not answer:\n{told}") from None
                time.sleep(0.1)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reading.join()
        assert process.stdout is not None
        process.stdout.close()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


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
