"""The real thing: a process, a port, a signal."""

import asyncio
import os
import signal
import sys
import time

import httpx

from tests.waiting import PATIENCE, free_port, until


async def test_a_process_starts_lives_and_stops(bank_url: str) -> None:
    """It gets healthy, things happen by themselves, and SIGTERM ends it without waiting for anything."""
    port = free_port()
    arguments = ["--port", str(port), "--database-url", bank_url, "--transactions", "300", "--speed", "86400"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", *arguments,
        env=os.environ | {"BANKMIRROR_SANDBOX_LOG_LEVEL": "warning"}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            first = await _healthy(client)

            async def lived() -> bool:
                now = (await client.get("/health")).json()
                return bool(now["head"] > first["head"] and now["bank_time"] > first["bank_time"])

            await until(lived)
    finally:
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            _, stderr = await process.communicate()

    assert time.monotonic() - began < 10
    assert process.returncode in (0, -signal.SIGTERM), stderr


async def _healthy(client: httpx.AsyncClient) -> dict[str, str]:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return dict((await client.get("/health")).json())
            except httpx.TransportError:
                await asyncio.sleep(0.05)
