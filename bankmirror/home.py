"""The directory in which `up` keeps its state: who runs in it, at which addresses, and their logs."""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import psutil

from kernel.errors import StartupError

# Seconds from asking a left-over process to end until it is killed.
_END_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process by its number and when it was created: a later one with the same number is another."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Self:
        return cls(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, if it still runs."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


@dataclass(frozen=True, slots=True)
class State:
    """What `up` writes down for `status`, `doctor` and the next `up`. It holds no secret."""

    supervisor: Process
    # The address of the API; None until it answers.
    url: str | None = None
    port: int | None = None
    sandbox_url: str | None = None
    # Kept for the next start: who wrote the address down finds the bank there again.
    sandbox_port: int | None = None
    children: dict[str, Process] = field(default_factory=dict)


class Home:
    """A home, which may not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.state_file = self.path / "up.json"
        self.logs = self.path / "logs"
        self._sandbox_id = self.path / "sandbox-id"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def sandbox_id(self, *, fresh: bool = False) -> str:
        """What tells this home's sandbox bank from every other bank, whatever its port; another one if `fresh`."""
        with suppress(OSError):
            if not fresh and (found := self._sandbox_id.read_text().strip()):
                return found
        made = f"sandbox-{secrets.token_hex(8)}"
        new = self._sandbox_id.with_suffix(".new")
        new.write_text(made + "\n")
        new.replace(self._sandbox_id)
        return made

    def read_state(self) -> State | None:
        """What the last `up` wrote down, whether it still runs or not."""
        try:
            found: dict[str, Any] = json.loads(self.state_file.read_text())
            found["supervisor"] = Process(**found["supervisor"])
            found["children"] = {name: Process(**child) for name, child in found["children"].items()}
            return State(**found)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def find_running(self) -> State | None:
        """The state of the `up` that runs in this home now."""
        state = self.read_state()
        return state if state and state.supervisor.find() else None

    def write_state(self, state: State) -> None:
        """Write it in one step: a reader never sees half of it."""
        fresh = self.state_file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(state), indent=2) + "\n")
        fresh.replace(self.state_file)

    @contextmanager
    def held(self) -> Iterator[State]:
        """Hold the home for one `up`, and end what a killed one left running. Raises StartupError."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartupError(
                f"cannot write in {self.path}: {error.strerror}",
                "name a directory of yours in BANKMIRROR_HOME",
            ) from error
        try:
            self._take(lock)
            earlier = self.read_state()
            if earlier:
                end_processes(list(earlier.children.values()))
            state = State(Process.of(os.getpid()), sandbox_port=earlier.sandbox_port if earlier else None)
            self.write_state(state)
            yield state
            self.write_state(replace(self.read_state() or state, url=None, sandbox_url=None, children={}))
        finally:
            os.close(lock)

    def _take(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = self.find_running()
            where = f"(pid {state.supervisor.pid}) at {state.url or 'no address yet'}" if state else f"in {self.path}"
            raise StartupError(
                f"already running {where}", "use that one, stop it, or name another home in BANKMIRROR_HOME"
            ) from None


def end_processes(processes: list[Process]) -> None:
    """End what is left of them: asked first, then killed."""
    left = [found for process in processes if (found := process.find())]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            process.resume()  # One that is stopped cannot end.
    deadline = time.monotonic() + _END_SECONDS
    while left and time.monotonic() < deadline:
        _, left = psutil.wait_procs(left, timeout=0.1)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=_END_SECONDS)
