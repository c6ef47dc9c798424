"""A bank made of raw sockets, which answers whatever bytes a test wants, and settings that point to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from banks.settings import BankSettings

Step = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Request:
    """What the bank was sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class RawBank:
    """Answers each request with the next step of the script, and with the last one for ever."""

    port: int = 0
    script: list[Step] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: list["asyncio.Task[object]"] = field(default_factory=list)

    def answers(self, *script: bytes | Step) -> None:
        """Set the script; bytes are sent as they are."""
        self.script = [_sending(step) if isinstance(step, bytes) else step for step in script]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept as long as both sides leave it open."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.append(task)
        # Cancelled is how the bank ends, and asyncio's streams complain about tasks that end so.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                self.requests.append(await _read_request(reader))
                step = self.script[min(len(self.requests), len(self.script)) - 1]
                await step(writer)
                await writer.drain()
        writer.transport.abort() if task.cancelling() else writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()


@asynccontextmanager
async def start_bank() -> AsyncIterator[RawBank]:
    """A bank on a free port of this machine."""
    bank = RawBank()
    server = await asyncio.start_server(bank.serve, "127.0.0.1", 0)
    bank.port = server.sockets[0].getsockname()[1]
    yield bank
    server.close()
    for connection in bank.connections:
        connection.cancel()
    await asyncio.gather(*bank.connections, return_exceptions=True)


def answer(status: int, body: object = b"", kind: str = "json", **headers: str) -> bytes:
    """An answer as bytes. A body that is not bytes goes as JSON; underscores in header names are dashes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": f"application/{kind}", "Content-Length": str(len(content)), **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode() + content


def problem(status: int, slug: str, **headers: str) -> bytes:
    """An error as the generic contract has it."""
    return answer(status, {"type": f"/problems/{slug}", "status": status}, "problem+json", **headers)


async def cut(writer: asyncio.StreamWriter) -> None:
    """Close the connection without a word."""
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    writer.transport.abort()


async def hang(_: asyncio.StreamWriter) -> None:
    """Say nothing, for longer than any test runs."""
    await asyncio.sleep(3600)


def cutting(content: bytes) -> Step:
    """Send this, and close the connection."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        writer.close()

    return send


def trickling(content: bytes, *, pause_seconds: float) -> Step:
    """Send this a byte at a time."""

    async def send(writer: asyncio.StreamWriter) -> None:
        for byte in content:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return send


def bank_settings(
    bank: RawBank, *, deadline_seconds: float = 5, bytes_max: int = 2**20, port: int | None = None
) -> BankSettings:
    """Settings of our side."""
    return BankSettings.model_validate(
        {
            "DATABASE_URL": "postgresql://nowhere",
            "BANK_API_BASE_URL": f"http://127.0.0.1:{port or bank.port}/api",
            "BANK_API_KEY": "the-key",
            "bank_deadline_seconds": deadline_seconds,
            "bank_answer_bytes_max": bytes_max,
        }
    )


def _sending(content: bytes) -> Step:
    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(content)

    return send


async def _read_request(reader: asyncio.StreamReader) -> Request:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
    method, target, _ = lines[0].split(" ")
    split = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in split}
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
