"""Webhooks: signed, coalesced, on this machine only, counted, and never in the bank's way."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sandbox import webhooks
from tests.waiting import PATIENCE


def test_signature() -> None:
    """HMAC-SHA-256 with the secret over the time, a dot, and the exact bytes."""
    expected = hmac.new(b"secret", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()

    assert webhooks.sign("secret", 1_700_000_000, b'{"a":1}') == f"t=1700000000,v1={expected}"


class Receiver:
    """A server on loopback that keeps what it gets and answers with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.url = ""
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.arrived = asyncio.Semaphore(0)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n"))}
        self.received.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        self.arrived.release()
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that listens."""
    receiver = Receiver()
    async with await asyncio.start_server(receiver.answer, "127.0.0.1", 0) as server:
        receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        yield receiver


async def pay(client: httpx.AsyncClient, key: str) -> None:
    order = {"source_account_id": "acct_123", "destination_account_id": "acct_456", "amount_cents": 1,
             "type": "transfer"}  # fmt: skip
    response = await client.post("/transactions", json=order, headers={"Idempotency-Key": key})
    assert response.status_code == 201


async def test_registration(client: httpx.AsyncClient) -> None:
    """A URL is registered once, listed, and forgotten."""
    one = await client.post("/webhooks", json={"url": "http://127.0.0.1:9/x"})
    again = await client.post("/webhooks", json={"url": "http://127.0.0.1:9/x"})
    listed = (await client.get("/webhooks")).json()

    assert one.status_code == 201
    assert one.json() == again.json()
    assert listed == {"data": [one.json()], "next_cursor": None}
    assert (await client.delete(f"/webhooks/{one.json()['webhook_id']}")).status_code == 204
    assert (await client.get("/webhooks")).json()["data"] == []


@pytest.mark.parametrize(
    "url",
    ["https://example.com/x", "http://127.0.0.1.example.com", "http://user@127.0.0.1/", "file:///etc/passwd",
     "http://169.254.169.254/", "http://[::1", "http://127.0.0.1:99999/", "", "http://127.0.0.1/\x00"],
)  # fmt: skip
async def test_only_this_machine(client: httpx.AsyncClient, url: str) -> None:
    """A sandbox is not made to call anybody else."""
    assert (await client.post("/webhooks", json={"url": url})).status_code == 422


async def test_delivery(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """Many commits within a second are one message of each event, signed, about the accounts that changed."""
    hook = (await client.post("/webhooks", json={"url": receiver.url})).json()
    await asyncio.gather(*(pay(client, f"webhook-{n}") for n in range(5)))
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            await receiver.arrived.acquire()
    await client.delete(f"/webhooks/{hook['webhook_id']}")

    messages = [json.loads(body) for _, body in receiver.received]
    assert {message["event"] for message in messages} == {"transactions.updated", "balances.updated"}
    for (headers, body), message in zip(receiver.received, messages, strict=True):
        assert set(message) == {"event", "account_ids", "sent_at"}
        assert message["account_ids"] == ["acct_123", "acct_456"]
        sent_at = int(headers["x-signature"].split(",")[0].removeprefix("t="))
        assert headers["x-signature"] == webhooks.sign("sandbox-webhook-secret", sent_at, body)


async def test_a_failing_receiver(
    client: httpx.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again, given up, and counted; the bank goes on as if nothing were."""
    monkeypatch.setattr(webhooks, "_RETRY_AFTER_SECONDS", (0.01, 0.02))
    receiver.status = 500
    hook = (await client.post("/webhooks", json={"url": receiver.url})).json()
    await pay(client, "failing")
    listed: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE):
        while not listed.get("failed"):
            await asyncio.sleep(0.1)
            [listed] = (await client.get("/webhooks")).json()["data"]
    await client.delete(f"/webhooks/{hook['webhook_id']}")

    assert len(receiver.received) >= 3
    assert listed["delivered"] == 0
