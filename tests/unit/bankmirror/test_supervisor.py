"""Children are kept alive, told about when they are not well, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bankmirror import supervisor
from bankmirror.supervisor import Child, Program, Supervisor
from kernel.errors import StartupError
from tests.waiting import PATIENCE

SLEEP = "import time\ntime.sleep(60)"
IGNORE_TERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
FAIL = "import sys\nsys.exit('error: the disk is on fire\\n  mend: water')"


async def seen(look: Callable[[], bool]) -> None:
    """Wait until it is so in the world outside, which sends us no event."""
    async with asyncio.timeout(PATIENCE):
        while not look():  # noqa: ASYNC110 (see above)
            await asyncio.sleep(0.01)


@dataclass
class Watched:
    """A supervisor with what it said and started."""

    supervisor: Supervisor
    log: Path
    said: list[str] = field(default_factory=list)
    started: list[int] = field(default_factory=list)

    def start(self, code: str) -> Child:
        command = [sys.executable, "-c", code]
        return self.supervisor.start(Program("worker", command, dict(os.environ), self.log))

    async def pids(self, count: int) -> list[int]:
        """The processes so far, once there are so many."""
        await seen(lambda: len(self.started) >= count)
        return self.started


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    said: list[str] = []
    started: list[int] = []
    made = Supervisor(report=said.append, started=lambda _, pid: started.append(pid))
    yield Watched(made, tmp_path / "worker.log", said, started)
    await made.stop()


def alive(pid: int) -> bool:
    """Whether the process still runs; one that nobody has buried yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_killed_child_is_started_again(watched: Watched) -> None:
    """At once, and that is told."""
    watched.start(SLEEP)
    (first,) = await watched.pids(1)

    os.kill(first, signal.SIGKILL)

    assert len(set(await watched.pids(2))) == 2
    assert watched.said == ["worker was killed (SIGKILL), starting it again"]


async def test_stop_ends_all_and_starts_none_again(watched: Watched) -> None:
    """Stopping waits for the end of each process."""
    watched.start(SLEEP)
    (pid,) = await watched.pids(1)

    await watched.supervisor.stop()

    assert not alive(pid)
    assert (watched.said, len(watched.started)) == ([], 1)


async def test_child_that_does_not_want_to_end_is_killed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who pressed Ctrl-C does not wait for ever."""
    monkeypatch.setattr(supervisor, "_STOP_SECONDS", 0.2)
    watched.start(IGNORE_TERM)
    (pid,) = await watched.pids(1)
    await seen(lambda: "ready" in watched.log.read_text())

    await watched.supervisor.stop()

    assert not alive(pid)


async def test_child_that_fails_again_and_again_is_told_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own last words, and it is tried on."""
    monkeypatch.setattr(supervisor, "_PAUSE_SECONDS_MIN", 0.01)
    monkeypatch.setattr(supervisor, "_PAUSE_SECONDS_MAX", 0.02)
    watched.start(FAIL)

    await watched.pids(7)

    assert len(watched.said) == 2
    assert watched.said[1].startswith("worker failed 5 times in a row, trying on: error: the disk is on fire")
    assert str(watched.log) in watched.said[1]


async def test_pauses_grow(watched: Watched) -> None:
    """A child that cannot start does not take the machine with it."""
    began = time.monotonic()
    watched.start(FAIL)

    await watched.pids(4)

    assert time.monotonic() - began > 1.2, "0.2, 0.4 and 0.8 seconds were waited"


async def test_waiting_for_a_child_that_cannot_start(watched: Watched) -> None:
    """It is told in the child's own words, with where to read more."""
    child = watched.start(FAIL)

    async def never() -> bool:
        return False

    with pytest.raises(StartupError, match="worker does not start: error: the disk is on fire") as raised:
        await child.wait_until(never, PATIENCE)
    assert str(watched.log) in raised.value.mend

    with pytest.raises(StartupError, match="no sign of life"):
        await watched.start(SLEEP).wait_until(never, 0.1)


async def test_log_is_bounded_while_it_is_written(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old lines are set aside, and the child goes on writing."""
    monkeypatch.setattr(supervisor, "_LOG_BYTES_MAX", 10_000)
    monkeypatch.setattr(supervisor, "_LOG_CHECK_SECONDS", 0.05)
    watched.start("import time\nwhile True:\n    print('x' * 500, flush=True)\n    time.sleep(0.005)")
    bounding = asyncio.create_task(watched.supervisor.bound_logs())

    aside = watched.log.with_suffix(".log.1")
    await seen(lambda: aside.exists() and watched.log.stat().st_size > 0)
    bounding.cancel()

    assert watched.log.stat().st_size < 100_000
    assert watched.log.read_bytes()[:1] == b"x", "no hole of zeros at its beginning"


def test_child_ends_with_its_supervisor(tmp_path: Path) -> None:
    """The supervisor is killed; its child notices by itself and ends."""
    child = "from bankmirror.parent import end_with_parent\nend_with_parent()\nprint('ready', flush=True)\n" + SLEEP
    parent = f"""
import asyncio, os, sys
from pathlib import Path
from bankmirror.supervisor import Program, Supervisor
async def main():
    made = Supervisor(report=print, started=lambda name, pid: print(pid, flush=True))
    command = [sys.executable, "-c", {child!r}]
    made.start(Program("worker", command, dict(os.environ), Path({str(tmp_path / "log")!r})))
    await asyncio.sleep(60)
asyncio.run(main())
"""
    root = str(Path(supervisor.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        assert alive(pid)
        deadline = time.monotonic() + PATIENCE
        while "ready" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        running.kill()

    deadline = time.monotonic() + PATIENCE
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)
