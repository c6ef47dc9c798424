"""The real thing: a process, a port, a signal."""

import asyncio
import os
import signal
import socket
import sys
import time

import httpx


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_a_process_starts_lives_and_stops(bank_url: str) -> None:
    """It gets healthy, things happen by themselves, and SIGTERM ends it within two seconds."""
    port = _free_port()
    arguments = ["--port", str(port), "--database-url", bank_url, "--transactions", "300", "--speed", "86400"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox", *arguments,
        env=os.environ | {"BANKMIRROR_SANDBOX_LOG_LEVEL": "warning"}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            first = await _healthy(client)
            await asyncio.sleep(2.5)
            second = (await client.get("/health")).json()
    finally:
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        async with asyncio.timeout(10):
            _, stderr = await process.communicate()

    assert time.monotonic() - began < 2
    assert process.returncode in (0, -signal.SIGTERM), stderr
    assert second["head"] > first["head"]
    assert second["bank_time"] > first["bank_time"]


async def _healthy(client: httpx.AsyncClient) -> dict[str, str]:
    async with asyncio.timeout(20):
        while True:
            try:
                return dict((await client.get("/health")).json())
            except httpx.TransportError:
                await asyncio.sleep(0.05)
