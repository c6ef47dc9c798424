"""What each process of `up` is told: its environment, and what it must not know."""

import os
import secrets
import socket
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from bankmirror.home import Home
from bankmirror.supervisor import Program
from kernel.settings import is_loopback

# The sandbox bank is somebody else's system: it knows neither our database nor our keys.
_NOT_FOR_THE_BANK = frozenset({"DATABASE_URL", "BANK_API_BASE_URL", "BANK_API_KEY", "BANKMIRROR_API_TOKEN"})
_THE_BANKS = frozenset(
    {
        "BANK_API_BASE_URL",
        "BANK_API_KEY",
        "BANKMIRROR_SANDBOX_API_KEY",
        "BANKMIRROR_SANDBOX_WEBHOOK_SECRET",
        "BANKMIRROR_WEBHOOK_SECRET",
    }
)
# Where nobody says otherwise. A person waits after Ctrl-C, and what is cut off is taken up again.
_DRAINS = {"BANKMIRROR_DRAIN_SECONDS": "2", "BANKMIRROR_TRANSFERS_DRAIN_SECONDS": "2"}
# A demonstration visibly lives, and what a killed ingest held is taken over while one watches.
_SANDBOX_PACE = {
    "BANKMIRROR_POLL_SECONDS": "3",
    "BANKMIRROR_POLL_SECONDS_MAX": "3",
    "BANKMIRROR_LEASE_SECONDS": "6",
}


class Programs:
    """Makes the programs of one home."""

    def __init__(self, home: Home, *, sandbox: bool) -> None:
        self._home = home
        self._runs_sandbox = sandbox
        given = {**dotenv_values(".env"), **os.environ}
        usual = {**_DRAINS, **(_SANDBOX_PACE if sandbox else {})}
        self._usual = {name: value for name, value in usual.items() if name not in given}
        # Learnt on the way: where database and bank are.
        self.found: dict[str, str] = {}
        # What only ingest is told: where the bank's webhooks come in, and how they are signed.
        self._webhooks: dict[str, str] = {}
        # One that is given is the bank's; the sandbox of this run gets one that nobody else knows.
        self._webhook_secret = given.get("BANKMIRROR_WEBHOOK_SECRET") or secrets.token_hex(32)

    def take_webhooks(self, port: int, front_url: str) -> None:
        """Have ingest take webhooks on a port of this machine, and the front pass them on to it.

        The sandbox calls nobody but this machine, and is told the address by ingest; who registers it at another
        bank knows under which name that bank reaches us.
        """
        self._webhooks = {"BANKMIRROR_WEBHOOK_PORT": str(port)}
        if self._runs_sandbox:
            here = front_url if is_loopback(urlsplit(front_url).hostname or "") else f"http://127.0.0.1:{port}"
            self._webhooks |= {
                "BANKMIRROR_WEBHOOK_URL": f"{here}/webhooks/bank",
                "BANKMIRROR_WEBHOOK_SECRET": self._webhook_secret,
            }

    def of_bank(self, told: Mapping[str, object]) -> Program:
        """The sandbox bank with some of its settings; None is not given."""
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_THE_BANK}
        for name, value in told.items():
            if value is not None:
                environment[f"BANKMIRROR_SANDBOX_{name}".upper()] = str(value)
        environment["BANKMIRROR_SANDBOX_WEBHOOK_SECRET"] = self._webhook_secret
        return self._program("sandbox", environment)

    def of_ingest(self) -> Program:
        return self._program("ingest", self._ours() | self._webhooks)

    def of_transfers(self, port: int) -> Program:
        where = {"BANKMIRROR_TRANSFERS_HOST": "127.0.0.1", "BANKMIRROR_TRANSFERS_PORT": str(port)}
        return self._program("transfers", self._ours() | where)

    def of_front(self, listener: socket.socket, transfers_url: str, number: int = 1) -> Program:
        """One of the fronts: all of them accept from the same listener."""
        host, *_ = listener.getsockname()
        where = {
            "BANKMIRROR_FRONT_HOST": host,
            "BANKMIRROR_FRONT_LISTENER": str(listener.fileno()),
            "BANKMIRROR_FRONT_TRANSFERS_URL": transfers_url,
        }
        if port := self._webhooks.get("BANKMIRROR_WEBHOOK_PORT"):
            where["BANKMIRROR_FRONT_WEBHOOKS_URL"] = f"http://127.0.0.1:{port}"
        # It answers whoever can reach the port, and never asks the bank.
        environment = {name: value for name, value in self._ours().items() if name not in _THE_BANKS}
        name = "front" if number == 1 else f"front-{number}"
        return self._program("front", environment | where, (listener.fileno(),), name=name)

    def _ours(self) -> dict[str, str]:
        return {**os.environ, **self._usual, **self.found}

    def _program(
        self, command: str, environment: dict[str, str], descriptors: tuple[int, ...] = (), *, name: str | None = None
    ) -> Program:
        """`name` tells several of one command apart."""
        name = name or command
        return Program(name, own_command(command), environment | own_environment(), self._home.log(name), descriptors)


def own_command(*arguments: str) -> list[str]:
    """The command line that runs this very program, whatever lies in the current directory."""
    return [sys.executable, "-P", "-m", "bankmirror", *arguments]


def own_environment() -> dict[str, str]:
    """What makes `own_command` find this code where it is not installed."""
    here = str(Path(__file__).resolve().parents[1])
    if here in sysconfig.get_paths().values():
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}
