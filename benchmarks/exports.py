"""What a million rows as a file take: `python -m benchmarks.exports`. Time, bytes, and by how much the process grew."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

from bankmirror.postgres import THROWAWAY, EmbeddedPostgres
from benchmarks.filled import fill
from schema.migrate import upgrade

ACCOUNTS, PER_ACCOUNT = 1_000, 1_000
PORT = 18_702
FORMS = ("text/csv", "application/x-ndjson")
PROGRAM = """
import asyncio
from readapi.app import serve
from readapi.settings import ReadapiSettings
asyncio.run(serve(ReadapiSettings(_env_file=None)))
"""


async def measure(url: str, pid: int) -> None:
    """Take every transaction in each form, and print a line for it."""
    process = psutil.Process(pid)
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False) as client:
        for form in FORMS:
            # What the first export of a process imports and connects is not of its length.
            await client.get("/banking/transactions?limit=1", headers={"accept": form})
            before = most = process.memory_info().rss
            began, size, lines = time.perf_counter(), 0, 0
            async with client.stream("GET", "/banking/transactions", headers={"accept": form}) as response:
                response.raise_for_status()
                async for piece in response.aiter_raw():
                    size += len(piece)
                    lines += piece.count(b"\n")
                    most = max(most, process.memory_info().rss)
            seconds, grown = time.perf_counter() - began, (most - before) / 2**20
            print(f"{form}: {lines} lines, {size / 1e6:.0f} MB in {seconds:.1f} s, grown by {grown:.1f} MiB")


async def ready(url: str) -> None:
    """Wait until the read API answers."""
    async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                await client.get(f"{url}/health")
                return
            except httpx.TransportError:
                await asyncio.sleep(0.1)


async def taken(pid: int) -> None:
    """Wait for the process, and measure it."""
    url = f"http://127.0.0.1:{PORT}"
    await ready(url)
    await measure(url, pid)


def main() -> None:
    """Fill a database, serve it, and take it away."""
    with tempfile.TemporaryDirectory(prefix="bankmirror-exports-") as home:
        Path(home).chmod(0o755)
        with EmbeddedPostgres.start(Path(home), settings=THROWAWAY) as server:
            upgrade(server.url())
            fill(server.url(), ACCOUNTS, PER_ACCOUNT)
            settings = {
                "DATABASE_URL": server.url(),
                "BANKMIRROR_MODE": "sandbox",
                "BANKMIRROR_READAPI_PORT": str(PORT),
            }
            with subprocess.Popen([sys.executable, "-c", PROGRAM], env={**os.environ, **settings}) as process:
                try:
                    asyncio.run(taken(process.pid))
                finally:
                    process.terminate()


if __name__ == "__main__":
    main()
