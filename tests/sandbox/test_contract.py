"""The contract of DESIGN section 8, route by route, and its shapes to the letter."""

import re
from datetime import date, datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

TRANSACTION_KEYS = [
    "transaction_id", "account_id", "amount_cents", "currency", "status", "type", "description",
    "counterparty", "created_at", "booked_on", "pending_transaction_id", "client_reference",
]  # fmt: skip


def check_transaction(row: dict[str, Any]) -> None:
    """Every key, in order, with its type; money is a whole number and pending has no booking date."""
    assert list(row) == TRANSACTION_KEYS
    assert type(row["amount_cents"]) is int
    assert row["currency"] in {"USD", "EUR", "JPY", "KWD"}
    assert datetime.fromisoformat(row["created_at"]).utcoffset() is not None
    assert row["status"] in {"pending", "posted"}
    assert (row["booked_on"] is None) == (row["status"] == "pending")
    assert row["booked_on"] is None or date.fromisoformat(row["booked_on"]).isoformat() == row["booked_on"]
    assert row["counterparty"] is None or list(row["counterparty"]) == ["name", "account_id"]
    for key in ("transaction_id", "account_id", "type", "description"):
        assert isinstance(row[key], str)
        assert row[key]


def check_problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """A problem document of this status and type."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == f"/problems/{slug}"
    assert body["status"] == status
    assert {"title", "detail", "retryable"} <= set(body)
    return body


async def read_all(client: httpx.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = (await client.get(path, params=params | ({"cursor": cursor} if cursor else {}))).json()
        assert list(page) == ["data", "next_cursor"]
        rows += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return rows


async def test_accounts(client: httpx.AsyncClient) -> None:
    """Accounts have these keys; the known ones exist; there is a closed one; pages add up."""
    rows = await read_all(client, "/accounts", limit=3)

    assert len(rows) == 8
    assert rows == sorted(rows, key=lambda row: row["account_id"])
    assert all(list(row) == ["account_id", "name", "type", "currency", "status"] for row in rows)
    by_id = {row["account_id"]: row for row in rows}
    assert {"acct_123", "acct_456", "acct_eur_001", "acct_jpy_001", "acct_kwd_001"} <= set(by_id)
    assert by_id["acct_123"]["currency"] == "USD"
    assert [row["status"] for row in rows].count("closed") == 1
    one = (await client.get("/accounts/acct_123")).json()
    assert one == by_id["acct_123"]


async def test_balances(client: httpx.AsyncClient) -> None:
    """The current balance is the sum of what is posted; a savings account does not say what is available."""
    rows = await read_all(client, "/balances", limit=5)

    for row in rows:
        assert list(row) == ["account_id", "currency", "current_cents", "available_cents", "as_of"]
        assert datetime.fromisoformat(row["as_of"]).utcoffset() is not None
        posted = await read_all(client, "/transactions", account_id=row["account_id"], status="posted", limit=500)
        assert row["current_cents"] == sum(t["amount_cents"] for t in posted)
    balances = {row["account_id"]: row for row in rows}
    assert balances["acct_123"]["current_cents"] == 25_000_000
    assert balances["acct_456"]["current_cents"] == 8_000_000
    assert [row["available_cents"] for row in rows].count(None) == 1
    one = (await client.get("/accounts/acct_456/balance")).json()
    assert one | {"as_of": ""} == balances["acct_456"] | {"as_of": ""}


async def test_transactions(client: httpx.AsyncClient) -> None:
    """The listing is complete, strictly ordered by (day, id), and every row has the contract's shape."""
    rows = await read_all(client, "/transactions", limit=61)

    assert len(rows) == 400
    for row in rows:
        check_transaction(row)
    keys = [(row["booked_on"] or row["created_at"][:10], row["transaction_id"]) for row in rows]
    assert all(before < after for before, after in pairwise(keys))
    assert {row["type"] for row in rows} >= {"card", "ach", "payroll", "deposit", "transfer", "fee"}
    one = await client.get(f"/transactions/{rows[7]['transaction_id']}")
    assert one.json() == rows[7]


async def test_transaction_filters(client: httpx.AsyncClient) -> None:
    """Each filter gives exactly the rows that it describes; from and to are inclusive."""
    rows = await read_all(client, "/transactions", limit=500)
    first, last = rows[100]["booked_on"], rows[300]["booked_on"]

    between = await read_all(client, "/transactions", **{"from": first, "to": last})
    of_account = await read_all(client, "/transactions", account_id="acct_jpy_001", limit=7)
    pending = await read_all(client, "/transactions", status="pending")
    unknown = await read_all(client, "/transactions", client_reference="nobody")

    assert between == [row for row in rows if first <= row["booked_on"] <= last]
    assert of_account == [row for row in rows if row["account_id"] == "acct_jpy_001"]
    assert pending == unknown == []


async def test_changes(client: httpx.AsyncClient) -> None:
    """From no cursor the feed adds every row once; at its end it has nothing, and a cursor to go on with."""
    page = (await client.get("/transactions/changes", params={"limit": 500})).json()

    assert list(page) == ["added", "modified", "removed", "next_cursor", "has_more"]
    assert page["has_more"] is False
    rows = await read_all(client, "/transactions")
    assert sorted(page["added"], key=str) == sorted(rows, key=str)
    end = (await client.get("/transactions/changes", params={"cursor": page["next_cursor"]})).json()
    assert end == {
        "added": [], "modified": [], "removed": [], "next_cursor": page["next_cursor"], "has_more": False
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/accounts", "/balances", "/transactions", "/transactions/changes", "/webhooks"])
async def test_authentication(client: httpx.AsyncClient, path: str) -> None:
    """Without the right bearer token nothing is told, not even what exists."""
    for authorization in ("", "Bearer wrong", "Basic sandbox-key", "Bearer", "bearer sandbox-key extra"):
        response = await client.get(path, headers={"Authorization": authorization})
        check_problem(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
    assert (await client.get(path, headers={"Authorization": "bearer sandbox-key"})).status_code == 200


async def test_health_needs_no_key(client: httpx.AsyncClient) -> None:
    """A supervisor asks without a key."""
    response = await client.get("/health", headers={"Authorization": ""})

    assert response.json()["status"] == "ok"


async def test_errors_are_problems(client: httpx.AsyncClient) -> None:
    """Whatever is wrong, it is a problem document with its own type."""
    check_problem(await client.get("/nowhere"), 404, "not-found")
    check_problem(await client.get("/accounts/"), 404, "not-found")
    check_problem(await client.get("/accounts/acct_none"), 404, "not-found")
    check_problem(await client.get("/accounts/acct_none/balance"), 404, "not-found")
    check_problem(await client.get("/transactions/txn_none"), 404, "not-found")
    check_problem(await client.delete("/webhooks/wh_none"), 404, "not-found")
    check_problem(await client.put("/accounts"), 405, "method-not-allowed")
    for limit in ("0", "501", "x", "1e2", "-1"):
        check_problem(await client.get("/transactions", params={"limit": limit}), 422, "validation-failed")
    for day in ("2026-13-01", "20260101", "1700000000", "today", ""):
        check_problem(await client.get("/transactions", params={"from": day}), 422, "validation-failed")
    check_problem(await client.get("/transactions", params={"status": "sent"}), 422, "validation-failed")


async def test_cursors_of_other_lists(client: httpx.AsyncClient) -> None:
    """A cursor is good for its own list only, and garbled ones are refused."""
    accounts = (await client.get("/accounts?limit=1")).json()["next_cursor"]
    listing = (await client.get("/transactions?limit=1")).json()["next_cursor"]
    feed = (await client.get("/transactions/changes?limit=1")).json()["next_cursor"]

    for path, wrong in (("/accounts", listing), ("/balances", accounts), ("/transactions", feed),
                        ("/transactions/changes", listing), ("/transactions/changes", feed[:-3] + "AAA"),
                        ("/transactions", ""), ("/transactions/changes", "ü"),
                        ("/accounts", "A" * 4000)):  # fmt: skip
        check_problem(await client.get(path, params={"cursor": wrong}), 400, "cursor-invalid")
    assert re.fullmatch(r"[\w-]+", feed)


async def test_rate_limit(second_url: str, start_bank: Any) -> None:
    """Beyond the limit it is 429 with whole seconds to wait."""
    async with start_bank(second_url, rate_limit_per_second=2, transactions=0) as client:
        responses = [await client.get("/accounts") for _ in range(6)]

    check_problem(responses[-1], 429, "rate-limited")
    assert responses[-1].headers["retry-after"] == "1"
    assert responses[0].status_code == 200
