"""Child processes that are kept alive: started, started again when they die, and never left behind."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bankmirror.logs import last_words
from bankmirror.parent import SUPERVISED
from kernel.errors import StartupError

# A child that lived this long was well: its next death is the first in a row, and it is restarted at once.
_WELL_SECONDS = 10.0
_PAUSE_SECONDS_MIN = 0.2
_PAUSE_SECONDS_MAX = 10.0
# So many deaths in a row are no accident any more, and are told.
_TOLD_AFTER = 5
# Draining is for requests under way; the longest of ours waits a few seconds, and a person waits for Ctrl-C.
_STOP_SECONDS = 2.5
_LOG_BYTES_MAX = 10_000_000
_LOG_CHECK_SECONDS = 5.0

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, in which environment, with which file descriptors of ours, and where it logs (None: where we do)."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path | None
    descriptors: tuple[int, ...] = ()


class Child:
    """One program, kept alive until it is stopped."""

    def __init__(self, program: Program, *, report: Report, started: Callable[[str, int], None]) -> None:
        self.program = program
        self.stopping = asyncio.Event()
        self.deaths_in_a_row = 0
        self._report = report
        self._started = started
        # Where in its log the present run begins.
        self._log_start = 0

    async def keep(self) -> None:
        """Run it, and again whenever it ends, until `stopping` is set; then end it."""
        stopping = asyncio.create_task(self.stopping.wait())
        while not self.stopping.is_set():
            began = time.monotonic()
            process = await self._spawn()
            self._started(self.program.name, process.pid)
            ended = asyncio.create_task(process.wait())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self.stopping.is_set():
                await _end(process)
                return
            well = time.monotonic() - began > _WELL_SECONDS
            self.deaths_in_a_row = 1 if well else self.deaths_in_a_row + 1
            self._tell(ended.result())
            pause = min(_PAUSE_SECONDS_MIN * 2 ** (self.deaths_in_a_row - 1), _PAUSE_SECONDS_MAX)
            await asyncio.wait({stopping}, timeout=pause)

    async def wait_until(self, ready: Callable[[], Awaitable[bool]], timeout_seconds: float) -> None:
        """Wait until it works. Raises StartupError, in its own words, if it keeps dying or is too slow."""
        deadline = time.monotonic() + timeout_seconds
        while not await ready():
            # Once may be a port that was just taken, or a database that was just restarting.
            if self.deaths_in_a_row >= 2:
                raise self._failure(self._last_words())
            if time.monotonic() > deadline:
                raise self._failure(f"no sign of life after {timeout_seconds:.0f} s")
            await asyncio.sleep(0.05)

    async def _spawn(self) -> asyncio.subprocess.Process:
        if self.program.log is None:
            return await self._execute(None)
        _rotate(self.program.log)
        with self.program.log.open("ab") as log:
            self._log_start = log.tell()
            return await self._execute(log)

    async def _execute(self, log: IO[bytes] | None) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.program.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**self.program.environment, SUPERVISED: "1"},
            pass_fds=self.program.descriptors,
            # A Ctrl-C at the terminal is for the supervisor, which stops its children in order.
            start_new_session=True,
        )

    def _tell(self, status: int) -> None:
        name = self.program.name
        if self.deaths_in_a_row == 1:
            self._report(f"{name} {_ended(status)}, starting it again")
        elif self.deaths_in_a_row == _TOLD_AFTER:
            said = f"{self._last_words()} (more in {self._where()})"
            self._report(f"{name} failed {_TOLD_AFTER} times in a row, trying on: {said}")

    def _last_words(self) -> str:
        return last_words(self.program.log, self._log_start) if self.program.log else "it has said why"

    def _where(self) -> str:
        return str(self.program.log or "what it wrote above")

    def _failure(self, why: str) -> StartupError:
        return StartupError(f"{self.program.name} does not start: {why}", f"read {self._where()}")


class Supervisor:
    """All children of one `up`. `report` hears what a person should know, `started` each new process."""

    def __init__(self, *, report: Report, started: Callable[[str, int], None]) -> None:
        self._report = report
        self._started = started
        self._children: list[tuple[Child, asyncio.Task[None]]] = []

    def start(self, program: Program) -> Child:
        """Start a program and keep it alive."""
        child = Child(program, report=self._report, started=self._started)
        self._children.append((child, asyncio.create_task(child.keep(), name=program.name)))
        return child

    async def bound_logs(self) -> None:
        """Keep every log below its limit, for ever."""
        while True:
            await asyncio.sleep(_LOG_CHECK_SECONDS)
            for child, _ in self._children:
                if child.program.log is not None:
                    _rotate(child.program.log)

    async def stop(self) -> None:
        """End all children at once."""
        for child, _ in self._children:
            child.stopping.set()
        await asyncio.gather(*(task for _, task in self._children), return_exceptions=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it to end, and kill it if it does not."""
    for order in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            process.send_signal(order)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            return


def _rotate(log: Path) -> None:
    """Set the log aside when it has grown past the limit; one such is kept.

    By copying, because the child goes on writing to the same open file: it appends, at the new end.
    """
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)


def _ended(status: int) -> str:
    return f"was killed ({signal.Signals(-status).name})" if status < 0 else f"ended with code {status}"
