"""Several processes on one port: all answer, one that dies is started again, and all end together."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from bankmirror.programs import own_environment
from tests.integration.readapi.mirror import Mirror
from tests.waiting import PATIENCE, free_port, until


async def test_workers(mirror: Mirror, tmp_path: Path) -> None:
    """Two accept from one socket; after one was killed there are two again, and SIGTERM ends both and their parent."""
    mirror.account("acct_1")
    mirror.feeds()
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BANKMIRROR_")},
        **own_environment(),
        "DATABASE_URL": mirror.url,
        "BANKMIRROR_MODE": "sandbox",
        "BANKMIRROR_READAPI_PORT": str(port),
        "BANKMIRROR_READAPI_WORKERS": "2",
    }
    command = [sys.executable, "-P", "-m", "bankmirror", "readapi"]
    with (tmp_path / "log").open("wb") as log:
        parent = await asyncio.to_thread(subprocess.Popen, command, env=environment, stderr=log, cwd=tmp_path)
    of_parent = psutil.Process(parent.pid)

    async def ids() -> set[str]:
        """Which processes answer: a request's id begins with its process's."""
        found = set()
        for _ in range(20):
            try:
                # A connection of its own each time, which any of them may accept.
                async with httpx.AsyncClient(trust_env=False) as client:
                    answer = await client.get(f"http://127.0.0.1:{port}/banking/accounts/acct_1")
            except httpx.TransportError:
                continue
            assert answer.status_code == 200
            found.add(answer.headers["request-id"][:23])
        return found

    async def both() -> set[str]:
        found = await ids()
        return found if len(found) == 2 else set()

    try:
        first = await until(both)
        workers = of_parent.children()
        workers[0].kill()

        async def replaced() -> set[str]:
            found = await ids()
            return found if len(found) == 2 and len(found - first) == 1 else set()

        await until(replaced)
        left = [*of_parent.children()]
        parent.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(parent.wait, PATIENCE)
    finally:
        parent.kill()
        parent.wait()

    assert code == 0, (tmp_path / "log").read_text()
    assert len(left) == 2
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in left)
    assert "Traceback" not in (tmp_path / "log").read_text()
