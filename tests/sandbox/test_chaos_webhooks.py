"""T56: notices that are lost, doubled, late, forged or replayed, as a receiver sees them."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from sandbox import webhooks
from tests.sandbox.test_webhooks import Receiver, pay, receiver
from tests.waiting import PATIENCE

__all__ = ["receiver"]

SECRET = "sandbox-webhook-secret"


async def arrivals(
    client: httpx.AsyncClient, to: Receiver, fault: str, count: int, **wanted: Any
) -> list[tuple[str, str, bytes]]:
    """The (event, signature, body) of the first notices after a payment, of which the very first meets the fault."""
    response = await client.post("/_chaos", json={"fault": fault, **wanted})
    assert response.status_code == 201, response.text
    hook = (await client.post("/webhooks", json={"url": to.url})).json()
    await pay(client, fault)
    async with asyncio.timeout(PATIENCE):
        for _ in range(count):
            await to.arrived.acquire()
    await client.delete(f"/webhooks/{hook['webhook_id']}")
    assert (await client.get("/_chaos")).json()["done"] == {fault: 1}
    return [(json.loads(body)["event"], headers["x-signature"], body) for headers, body in to.received]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_INTERVAL_SECONDS", 0.05)


async def test_t56_lost(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """The one is never heard of; the other comes."""
    [(event, _, _)] = await arrivals(client, receiver, "webhook-lost", 1)

    assert event == "balances.updated"


async def test_t56_twice(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """Byte for byte, with one signature."""
    first, second, *_ = await arrivals(client, receiver, "webhook-twice", 3)

    assert first == second


async def test_t56_late(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """What was told first arrives last, signed when it is sent."""
    events = [event for event, _, _ in await arrivals(client, receiver, "webhook-late", 2, seconds=3)]

    assert events == ["balances.updated", "transactions.updated"]


async def test_t56_forged(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """Signed with another secret; the next one is right."""
    forged, honest = await arrivals(client, receiver, "webhook-forged", 2)
    for (_, signature, body), is_right in ((forged, False), (honest, True)):
        assert (signature == webhooks.sign(SECRET, _sent_at(signature), body)) == is_right


async def test_t56_replayed(client: httpx.AsyncClient, receiver: Receiver) -> None:
    """The signature is right, and an hour old."""
    (_, signature, body), _ = await arrivals(client, receiver, "webhook-replayed", 2)

    assert signature == webhooks.sign(SECRET, _sent_at(signature), body)
    assert time.time() - _sent_at(signature) >= 3_600


def _sent_at(signature: str) -> int:
    return int(signature.split(",")[0].removeprefix("t="))
