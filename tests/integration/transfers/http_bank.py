"""A bank behind a real socket that speaks the generic contract, and can hang at two points of a payment."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class HttpBank:
    """Executes a payment once for its key. `posts` holds every body that arrived whole."""

    hang_before: bool = False
    hang_after: bool = False
    # Look-ups find nothing, whatever was booked.
    is_blind: bool = False
    url: str = ""
    posts: list[bytes] = field(default_factory=list)
    booked: dict[str, dict[str, Any]] = field(default_factory=dict)
    look_ups: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    # Ends the hanging of those who hang.
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split("\r\n")[0].split(" ")
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            status, document = await self._react(method, urlsplit(target).query, headers, body)
            content = json.dumps(document).encode()
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + content
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def _react(self, method: str, query: str, headers: dict[str, str], body: bytes) -> tuple[str, dict[str, Any]]:
        if method == "GET":
            self.look_ups += 1
            reference = parse_qs(query)["client_reference"][0]
            found = [row for row in self.booked.values() if row["client_reference"] == reference and not self.is_blind]
            return "200 OK", {"data": found, "next_cursor": None}
        self.posts.append(body)
        if self.hang_before:
            await self._hang()
        order = json.loads(body)
        key = headers["idempotency-key"]
        row = self.booked.setdefault(key, _row(order, len(self.booked) + 1))
        if self.hang_after:
            await self._hang()
        return "201 Created", row

    async def _hang(self) -> None:
        self.arrived.set()
        await self.released.wait()


def _row(order: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "transaction_id": f"txn_{number}",
        "account_id": order["source_account_id"],
        "amount_cents": -order["amount_cents"],
        "currency": order["currency"],
        "status": "posted",
        "type": "transfer",
        "description": "Transfer",
        "counterparty": {"name": "Own account", "account_id": order["destination_account_id"]},
        "created_at": "2026-01-15T09:30:00Z",
        "booked_on": "2026-01-15",
        "pending_transaction_id": None,
        "client_reference": order["client_reference"],
    }


@asynccontextmanager
async def open_http_bank() -> AsyncIterator[HttpBank]:
    bank = HttpBank()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(bank.answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    bank.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield bank
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
