"""The read API as a process of its own, over real HTTP."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.waiting import PATIENCE, free_port

PROGRAM = """
import asyncio
from kernel.log import configure_log
from readapi.app import serve
from readapi.settings import ReadapiSettings

settings = ReadapiSettings(_env_file=None)
configure_log("readapi", "info", "json")
asyncio.run(serve(settings))
"""


@dataclass(frozen=True)
class Served:
    """Where it listens, and the process."""

    url: str
    process: subprocess.Popen[str]


@contextmanager
def serving(database_url: str) -> Iterator[Served]:
    """Run the read API until the end of the block; whatever it does then, it is gone."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BANKMIRROR_")},
        "DATABASE_URL": database_url,
        "BANKMIRROR_MODE": "sandbox",
        "BANKMIRROR_READAPI_PORT": str(port),
    }
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _wait_until_up(url, process)
            yield Served(url, process)
        finally:
            process.kill()


def _wait_until_up(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/health")
            return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"the read API does not start: {process.stderr.read() if process.stderr else ''}")
