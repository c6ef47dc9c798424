"""Payments: once per key, both legs at once, declined for documented reasons."""

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import psycopg
import pytest

ORDER = {
    "source_account_id": "acct_123", "destination_account_id": "acct_456", "amount_cents": 12_345,
    "type": "transfer",
}  # fmt: skip


async def pay(client: httpx.AsyncClient, key: str | None, **changed: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key is not None else {}
    return await client.post("/transactions", json=ORDER | changed, headers=headers)


async def balance(client: httpx.AsyncClient, account_id: str) -> int:
    cents: int = (await client.get(f"/accounts/{account_id}/balance")).json()["current_cents"]
    return cents


def slug(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"]).removeprefix("/problems/")


async def test_transfer_books_both_legs(client: httpx.AsyncClient) -> None:
    """The source leg is answered and has the reference; the other leg mirrors it; balances move."""
    before = await balance(client, "acct_123"), await balance(client, "acct_456")
    end = (await client.get("/transactions/changes?limit=500")).json()["next_cursor"]

    response = await pay(client, "both-legs", client_reference="ref-both", currency="USD")

    leg = response.json()
    assert response.status_code == 201
    assert (leg["status"], leg["amount_cents"], leg["currency"]) == ("posted", -12_345, "USD")
    assert leg["counterparty"] == {"name": "Payroll", "account_id": "acct_456"}
    assert leg["client_reference"] == "ref-both"
    found = (await client.get("/transactions", params={"client_reference": "ref-both"})).json()["data"]
    assert found == [leg]
    legs = (await client.get("/transactions/changes", params={"cursor": end})).json()["added"]
    assert legs[0] == leg
    assert (legs[1]["account_id"], legs[1]["amount_cents"]) == ("acct_456", 12_345)
    assert legs[1]["client_reference"] is None
    assert legs[1]["counterparty"] == {"name": "Operating", "account_id": "acct_123"}
    after = await balance(client, "acct_123"), await balance(client, "acct_456")
    assert after == (before[0] - 12_345, before[1] + 12_345)


async def test_replay(client: httpx.AsyncClient) -> None:
    """The same key and order, however spelled, gets the same object again; another order is refused."""
    first = await pay(client, "replay")
    spelled = json.dumps(dict(reversed(ORDER.items())), indent=3)
    again = await client.post("/transactions", content=spelled, headers={"Idempotency-Key": "replay"})
    other = await pay(client, "replay", amount_cents=12_346)

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert (other.status_code, slug(other)) == (422, "idempotency-key-reused")


async def test_twenty_at_once(client: httpx.AsyncClient) -> None:
    """Twenty identical requests at once move money once; who comes too early is told to wait."""
    before = await balance(client, "acct_123")

    responses = await asyncio.gather(*(pay(client, "twenty", client_reference="ref-twenty") for _ in range(20)))

    statuses = Counter(response.status_code for response in responses)
    assert statuses[201] == 1
    assert set(statuses) <= {200, 201, 409}
    assert {slug(r) for r in responses if r.status_code == 409} <= {"request-in-progress"}
    found = (await client.get("/transactions", params={"client_reference": "ref-twenty"})).json()["data"]
    assert len(found) == 1
    assert await balance(client, "acct_123") == before - 12_345


async def test_in_flight(client: httpx.AsyncClient, bank_url: str) -> None:
    """While a key is being worked on, the same key is told so."""
    async with await psycopg.AsyncConnection.connect(bank_url) as busy:
        await busy.execute("SELECT pg_advisory_xact_lock(hashtextextended('key:' || 'busy', 0))")
        during = await pay(client, "busy")
        await busy.rollback()
    afterwards = await pay(client, "busy")

    assert (during.status_code, slug(during)) == (409, "request-in-progress")
    assert afterwards.status_code == 201


async def test_key_expires(client: httpx.AsyncClient, bank_url: str) -> None:
    """After a day of real time the same key pays again: the cliff that clients must know of."""
    first = await pay(client, "old")
    async with await psycopg.AsyncConnection.connect(bank_url) as conn:
        await conn.execute(
            "UPDATE bank.idempotency_keys SET created_at = now() - interval '24:00:01' WHERE key = 'old'"
        )
    second = await pay(client, "old")

    assert second.status_code == 201
    assert second.json()["transaction_id"] != first.json()["transaction_id"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"amount_cents": 10**14}, "insufficient-funds"),
        ({"amount_cents": 0}, "amount-invalid"),
        ({"amount_cents": -5}, "amount-invalid"),
        ({"amount_cents": 2**70}, "amount-invalid"),
        ({"destination_account_id": "acct_elsewhere"}, "account-not-found"),
        ({"source_account_id": "acct_elsewhere"}, "account-not-found"),
        ({"destination_account_id": "acct_123"}, "same-account"),
        ({"destination_account_id": "acct_eur_001"}, "currency-mismatch"),
        ({"currency": "EUR"}, "currency-mismatch"),
    ],
)
async def test_declines(client: httpx.AsyncClient, changed: dict[str, Any], reason: str) -> None:
    """A declined payment moves nothing, says why, and says the same again under its key."""
    before = await balance(client, "acct_123")
    key = f"declined-{reason}-{len(str(changed))}-{hash(str(changed))}"

    first, again = await pay(client, key, **changed), await pay(client, key, **changed)

    assert (first.status_code, slug(first)) == (422, reason)
    assert (again.status_code, again.json()) == (422, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert await balance(client, "acct_123") == before


async def test_closed_account(client: httpx.AsyncClient) -> None:
    """Nothing goes to or from a closed account."""
    accounts = (await client.get("/accounts")).json()["data"]
    [closed] = [row["account_id"] for row in accounts if row["status"] == "closed"]

    assert slug(await pay(client, "to-closed", destination_account_id=closed)) == "account-closed"
    assert slug(await pay(client, "from-closed", source_account_id=closed)) == "account-closed"


async def test_keys(client: httpx.AsyncClient) -> None:
    """A payment without exactly one printable key is not looked at."""
    many = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]

    assert slug(await pay(client, None)) == "idempotency-key-missing"
    for key in ("", "a b", "x" * 256, "\x7f"):
        assert slug(await pay(client, key)) == "idempotency-key-invalid"
    assert slug(await client.post("/transactions", json=ORDER, headers=many)) == "idempotency-key-invalid"


async def test_crossing_transfers_do_not_deadlock(client: httpx.AsyncClient) -> None:
    """Payments in both directions at once all succeed and leave the sum as it was."""
    before = await balance(client, "acct_123") + await balance(client, "acct_456")
    there = [pay(client, f"there-{n}", amount_cents=n + 1) for n in range(15)]
    back = [
        pay(
            client,
            f"back-{n}",
            amount_cents=n + 1,
            source_account_id="acct_456",
            destination_account_id="acct_123",
        )
        for n in range(15)
    ]

    responses = await asyncio.gather(*there, *back)

    assert [response.status_code for response in responses] == [201] * 30
    assert await balance(client, "acct_123") + await balance(client, "acct_456") == before
