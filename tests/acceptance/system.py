"""A whole Bankmirror as a user runs it: `bankmirror up` in a home of its own, and what can be seen of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg

from bankmirror.postgres import find_running
from tests.waiting import PATIENCE, free_port

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-P", "-m", "bankmirror"]
Seen = TypeVar("Seen")

# What a test's system is told beside its own. Polls follow each other quickly, and a feed is stale quickly.
PACE = {
    "BANKMIRROR_POLL_SECONDS": "1",
    "BANKMIRROR_LEASE_SECONDS": "3",
    "BANKMIRROR_SANDBOX_LIVE_EVENTS_PER_MINUTE": "60",
}


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a command of ours, whatever the developer's own holds."""
    ours = re.compile(r"BANKMIRROR_|DATABASE_URL$|BANK_API_|PG[A-Z]+$")
    clean = {name: value for name, value in os.environ.items() if not ours.match(name)}
    return {**clean, "PYTHONPATH": str(ROOT), "BANKMIRROR_HOME": str(home), **more}


def run(
    home: Path, *arguments: str, told: Mapping[str, str] | None = None, seconds: float = 90
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end. In the home, so that nobody's `.env` has a say."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=home,
        env=environment(home, **(told or {})),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def wait_until(look: Callable[[], Seen | None], seconds: float, what: str) -> Seen:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError, psycopg.OperationalError):
            if (found := look()) is not None and found is not False:
                return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


@dataclass(frozen=True, slots=True)
class Box:
    """What `up` prints last."""

    url: str
    curl: str
    answer: Any


@dataclass(slots=True)
class System:
    """A running `up`."""

    home: Path
    process: "subprocess.Popen[str]"
    output: Path
    box: Box

    @property
    def url(self) -> str:
        return self.box.url

    def text(self) -> str:
        """All that it printed so far."""
        return self.output.read_text()

    def state(self) -> dict[str, Any]:
        """What it wrote down in up.json."""
        found: dict[str, Any] = json.loads((self.home / "up.json").read_text())
        return found

    def pid(self, child: str) -> int:
        """The process of a child now; PostgreSQL's is in its own pid file."""
        if child == "postgres":
            return int((self.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
        number: int = self.state()["children"][child]["pid"]
        return number

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=PATIENCE, trust_env=False)

    def activity(self, account_id: str, limit: int = 100) -> list[dict[str, Any]]:
        response = self.get(f"/banking/accounts/{account_id}/activity?limit={limit}")
        assert response.status_code == 200, response.text
        items: list[dict[str, Any]] = response.json()
        return items

    def verdict(self) -> dict[str, Any]:
        """The freshness of everything."""
        found: dict[str, Any] = self.get("/banking/balances").json()["freshness"]
        return found

    def database(self) -> "psycopg.Connection[Any]":
        url = find_running(self.home, "bankmirror")
        assert url is not None, "the embedded database runs"
        return psycopg.connect(url, autocommit=True, connect_timeout=int(PATIENCE))

    def interrupt(self) -> tuple[int, float]:
        """Press Ctrl-C; the exit code and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE)
        return code, time.monotonic() - began


def launch(home: Path, *flags: str, **more: str) -> tuple["subprocess.Popen[str]", Path]:
    """Start `bankmirror up`; its process and the file of its output."""
    output = home / f"output-{time.monotonic_ns()}"
    told = {**PACE, "BANKMIRROR_SANDBOX_PORT": str(free_port()), **more}
    with output.open("w") as file:
        process = subprocess.Popen(
            [*COMMAND, "up", *(flags or ["--port", str(free_port())])],
            cwd=home,
            env=environment(home, **told),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    return process, output


@contextmanager
def running(home: Path, *flags: str, **more: str) -> Iterator[System]:
    """`bankmirror up` until the end of the block, or until the block stops it."""
    process, output = launch(home, *flags, **more)
    try:
        box = wait_until(lambda: read_box(output, process), 2 * PATIENCE, f"the box of `up`: {output}")
        yield System(home, process, output, box)
    finally:
        end(process)


def read_box(output: Path, process: "subprocess.Popen[str]") -> Box | None:
    """The box, once it is printed whole."""
    text = output.read_text()
    assert process.poll() is None, f"up ended with {process.returncode}: {text}"
    url = re.search(r"^ API +(http\S+)$", text, re.MULTILINE)
    curl = re.search(r"^ \$ (curl .+)\n((?:   .*\n)+)", text, re.MULTILINE)
    if url is None or curl is None or " more " not in text:
        return None
    return Box(url[1], curl[1], json.loads(curl[2]))


def end(process: "subprocess.Popen[str]") -> None:
    """Stop it whatever state it is in."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    if process.poll() is None:
        process.kill()
        process.wait()


def alive(pid: int) -> bool:
    """Whether the process still runs."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def post_transfer(url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """The request of the older contract, as its unmodified clients send it."""
    order = {"account_id": "acct_123", "destination_account_id": "acct_456", "amount_cents": 2500}
    return httpx.post(f"{url}/banking/transfer", json=order, headers=headers, timeout=PATIENCE, trust_env=False)
