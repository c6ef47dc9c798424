"""Every endpoint answers what the mirror holds, in the shape that its model and OpenAPI promise."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
import schemathesis
from pydantic import TypeAdapter

from readapi import models
from readapi.app import create_api
from readapi.metrics import Metrics
from tests.integration.readapi.mirror import NOON, Mirror, settings

ROUTES: dict[str, Any] = {
    "/banking/accounts": models.Accounts,
    "/banking/accounts/{account_id}": models.OneAccount,
    "/banking/accounts/{account_id}/activity": list[models.Activity],
    "/banking/accounts/{account_id}/transactions": models.Transactions,
    "/banking/accounts/{account_id}/transactions/{transaction_id}": models.OneTransaction,
    "/banking/accounts/{account_id}/balances": models.BalancesOfAccount,
    "/banking/accounts/{account_id}/balance/explain": models.BalanceExplanations,
    "/banking/accounts/{account_id}/activity-summary": models.ActivitySummaries,
    "/banking/activity-summary": models.ActivitySummaries,
    "/banking/transactions": models.Transactions,
    "/banking/cash-position": models.CashPositions,
    "/banking/balances": models.Balances,
    "/banking/cash-flow": models.CashFlows,
    "/banking/sync": models.Sync,
    "/health": models.Health,
    "/ready": models.Ready,
}


async def ask(client: httpx.AsyncClient, path: str, **query: str | int) -> Any:
    """The JSON of a 200."""
    response = await client.get(path, params=query)

    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture
def filled(mirror: Mirror) -> Mirror:
    """Two accounts with something of everything."""
    mirror.feeds()
    mirror.account("acct_1")
    mirror.account("acct_2", currency="EUR", status="closed", name="Old\u202e one")
    mirror.balance("acct_1", 123_456, available_minor=100_000)
    mirror.past_balance("acct_1", 99, known_from=NOON - timedelta(days=1))
    mirror.transaction("acct_1", transaction_id="tx_1")
    mirror.transaction("acct_1", 5000, transaction_id="tx_2", status="pending", booked_on=None)
    mirror.revision("acct_1", "tx_1", ended_by="settled", successor_id="tx_2", description="HOLD\u200b ME")
    mirror.transfer("acct_1")
    mirror.total("acct_1", "2026-03-02", 5000, -1250)
    mirror.refresh()
    return mirror


@pytest.mark.parametrize("route", ROUTES)
async def test_answers_have_their_documented_shape(
    filled: Mirror, client: httpx.AsyncClient, database_url: str, route: str
) -> None:
    """Each answer validates against its model, strictly, and against the OpenAPI document."""
    document = create_api(settings(database_url), Metrics()).openapi()
    response = await client.get(route.format(account_id="acct_1", transaction_id="tx_1"))

    TypeAdapter(ROUTES[route]).validate_json(response.content)
    schemathesis.openapi.from_dict(document)[route]["GET"].validate_response(response)
    assert response.headers["request-id"]


AVAILABLE = {"available": "1000.00"}
COFFEE = {"counterparty_name": "Coffee Ltd"}


@pytest.mark.parametrize(
    ("route", "fields", "data"),
    [
        ("/banking/accounts/{account_id}", "name,balance.available", {"name": "Operating", "balance": AVAILABLE}),
        ("/banking/transactions", "untrusted.counterparty_name", [{"untrusted": COFFEE}] * 2),
        ("/banking/cash-flow", "view.name", {"view": {"name": "daily_cash_flow"}}),
    ],
)  # fmt: skip
async def test_a_choice_of_fields_is_documented(
    filled: Mirror, client: httpx.AsyncClient, database_url: str, route: str, fields: str, data: Any
) -> None:
    """Of an object, of rows, and of what is in them: the document allows for it."""
    document = create_api(settings(database_url), Metrics()).openapi()
    response = await client.get(route.format(account_id="acct_1"), params={"fields": fields})

    assert response.json()["data"] == data
    schemathesis.openapi.from_dict(document)[route]["GET"].validate_response(response)


async def test_activity_takes_a_choice_of_fields(filled: Mirror, client: httpx.AsyncClient, database_url: str) -> None:
    """The bare list too, and another choice is another answer to who asks whether it changed."""
    route = "/banking/accounts/{account_id}/activity"
    document = create_api(settings(database_url), Metrics()).openapi()
    response = await client.get(route.format(account_id="acct_1"), params={"fields": "amount"})
    other = await client.get(route.format(account_id="acct_1"), params={"fields": "amount_minor"})

    assert response.json() == [{"amount": "-25.00"}, {"amount": "50.00"}, {"amount": "-12.50"}]
    assert response.headers["etag"] != other.headers["etag"]
    schemathesis.openapi.from_dict(document)[route]["GET"].validate_response(response)


@pytest.mark.parametrize("route", [route for route in ROUTES if route.startswith("/banking")])
async def test_answers_on_an_empty_mirror(client: httpx.AsyncClient, route: str) -> None:
    """Nothing mirrored yet: lists are empty and their verdict is unknown; single things are not found."""
    response = await client.get(route.format(account_id="acct_1", transaction_id="tx_1"))

    if "{" in route:
        assert (response.status_code, response.json()["type"]) == (404, "/problems/not-found")
    else:
        assert response.status_code == 200
        assert response.json()["freshness"]["verdict"] == "unknown"


async def test_accounts_have_their_balance_or_null(filled: Mirror, client: httpx.AsyncClient) -> None:
    """Money is given as minor units and as a decimal text; what the bank does not say is null, not zero."""
    listed = await ask(client, "/banking/accounts")

    first, second = listed["data"]
    assert first["account_id"] == "acct_1"
    assert first["balance"]["current_minor"] == 123_456
    assert first["balance"]["current"] == "1234.56"
    assert first["balance"]["available"] == "1000.00"
    assert second["balance"] is None
    assert second["name"] == "Old  one"
    assert listed["next_cursor"] is None
    assert (await ask(client, "/banking/accounts/acct_1"))["data"] == first


async def test_accounts_by_filter(filled: Mirror, client: httpx.AsyncClient) -> None:
    """Status and currency select."""
    for query, expected in (
        ({"status": "open"}, ["acct_1"]),
        ({"status": "closed"}, ["acct_2"]),
        ({"currency": "EUR"}, ["acct_2"]),
        ({"currency": "EUR", "status": "open"}, []),
    ):
        listed = await ask(client, "/banking/accounts", **query)
        assert [account["account_id"] for account in listed["data"]] == expected


async def test_activity_is_a_bare_list_of_bank_and_own_entries(filled: Mirror, client: httpx.AsyncClient) -> None:
    """The older contract: newest first, with a transfer of ours that the bank does not show yet."""
    response = await client.get("/banking/accounts/acct_1/activity")

    transfer, *transactions = response.json()
    assert [entry["id"] for entry in transactions] == ["tx_2", "tx_1"]
    assert transfer["kind"] == transfer["action"] == "transfer"
    assert (transfer["amount_cents"], transfer["amount"]) == (-2500, "-25.00")
    assert (transfer["status"], transfer["outcome_certain"]) == ("processing", True)
    assert transactions[1] == {
        "id": "tx_1",
        "kind": "transaction",
        "action": "card",
        "amount_cents": -1250,
        "amount_minor": -1250,
        "amount": "-12.50",
        "currency": "USD",
        "status": "posted",
        "outcome_certain": True,
        "created_at": "2026-03-02T12:00:00+00:00",
        "booked_on": "2026-03-02",
        "untrusted": {"description": "COFFEE", "counterparty_name": "Coffee Ltd", "warnings": []},
    }
    assert response.headers["bankmirror-verdict"] == "fresh"
    assert "bankmirror-reason" not in response.headers


@pytest.mark.parametrize(
    ("state", "status", "outcome_certain"),
    [
        ("pending_approval", "pending_approval", True),
        ("ready", "processing", True),
        ("submitting", "processing", False),
        ("unknown", "processing", False),
        ("manual_review", "processing", False),
        ("accepted", "completed", True),
    ],
)
async def test_activity_says_where_a_transfer_stands(
    mirror: Mirror, client: httpx.AsyncClient, state: str, status: str, outcome_certain: bool
) -> None:
    """An unknown outcome is said to be unknown, and never looks failed or done."""
    mirror.account("acct_1")
    transfer_id = mirror.transfer("acct_1", state=state)

    (entry,) = await ask(client, "/banking/accounts/acct_1/activity")
    assert (entry["id"], entry["status"], entry["outcome_certain"]) == (transfer_id, status, outcome_certain)


@pytest.mark.parametrize("state", ["settled", "rejected", "returned", "canceled"])
async def test_activity_leaves_out_what_is_over(mirror: Mirror, client: httpx.AsyncClient, state: str) -> None:
    """What has ended is the bank's to show."""
    mirror.account("acct_1")
    mirror.transfer("acct_1", state=state)

    assert await ask(client, "/banking/accounts/acct_1/activity") == []


@pytest.mark.parametrize("known_by", ["transaction_id", "client_reference"])
async def test_activity_shows_a_transfer_once(mirror: Mirror, client: httpx.AsyncClient, known_by: str) -> None:
    """Once the feed shows a transfer, by its id or by its reference, the transfer itself disappears."""
    mirror.account("acct_1")
    mirror.transfer("acct_1", state="accepted", bank_transaction_id="bank_7", bank_key="key_7")
    shown = {"transaction_id": "bank_7"} if known_by == "transaction_id" else {"client_reference": "key_7"}
    mirror.transaction("acct_1", -2500, type="transfer", **shown)

    (entry,) = await ask(client, "/banking/accounts/acct_1/activity")
    assert entry["kind"] == "transaction"


async def test_activity_merges_by_time_and_stops_at_the_limit(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """20 by default; the newest of both kinds, whichever they are."""
    mirror.account("acct_1")
    for minute in range(30):
        mirror.transaction("acct_1", transaction_id=f"tx_{minute:02}", created_at=NOON + timedelta(minutes=minute))
    between = mirror.transfer("acct_1", created_at=NOON + timedelta(minutes=28, seconds=30))

    assert len(await ask(client, "/banking/accounts/acct_1/activity")) == 20
    newest = await ask(client, "/banking/accounts/acct_1/activity", limit=3)
    assert [entry["id"] for entry in newest] == ["tx_29", between, "tx_28"]


async def test_transactions_by_filter(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Each filter selects, and all of them must hold. A pending entry counts on the day it was made."""
    mirror.account("acct_1")
    late = NOON + timedelta(days=2)
    mirror.transaction("acct_1", -1000, transaction_id="a", booked_on="2026-03-02", type="card")
    mirror.transaction("acct_1", 3000, transaction_id="b", booked_on="2026-03-09", type="salary")
    mirror.transaction("acct_1", -500, transaction_id="c", status="pending", booked_on=None, created_at=late)
    mirror.transaction("acct_1", 0, transaction_id="d", counterparty_account_id="ext_1")
    for query, expected in (
        ({"from": "2026-03-04"}, "bc"),
        ({"to": "2026-03-04"}, "acd"),
        ({"from": "2026-03-04", "to": "2026-03-04"}, "c"),
        ({"status": "pending"}, "c"),
        ({"type": "salary"}, "b"),
        ({"direction": "in"}, "b"),
        ({"direction": "out"}, "ac"),
        ({"min_amount_minor": "1000"}, "ab"),
        ({"max_amount_minor": "1000"}, "acd"),
        ({"min_amount_minor": "600", "max_amount_minor": "1000", "direction": "out"}, "a"),
        ({"counterparty_account_id": "ext_1"}, "d"),
        ({"counterparty_account_id": "ext_1", "direction": "out"}, ""),
        ({}, "abcd"),
    ):
        listed = await ask(client, "/banking/accounts/acct_1/transactions", **query)
        assert sorted(entry["transaction_id"] for entry in listed["data"]) == list(expected), query


async def test_a_transaction_has_its_history(filled: Mirror, client: httpx.AsyncClient) -> None:
    """What we believed before is listed; one that the bank removed is explained, not just absent."""
    filled.revision("acct_1", "tx_gone", ended_by="removed")

    known = (await ask(client, "/banking/accounts/acct_1/transactions/tx_1"))["data"]
    gone = (await ask(client, "/banking/accounts/acct_1/transactions/tx_gone"))["data"]
    assert known["current"]["amount_minor"] == -1250
    assert known["revisions"][0]["successor_id"] == "tx_2"
    assert known["revisions"][0]["untrusted"] == {
        "description": "HOLD  ME",
        "counterparty_name": None,
        "warnings": ["hidden_characters"],
    }
    assert gone["current"] is None
    assert gone["revisions"][0]["ended_by"] == "removed"


async def test_a_transaction_is_found_in_its_own_account_only(filled: Mirror, client: httpx.AsyncClient) -> None:
    """The same answer as for one that does not exist."""
    elsewhere = await client.get("/banking/accounts/acct_2/transactions/tx_1")
    nowhere = await client.get("/banking/accounts/acct_2/transactions/tx_none")

    assert elsewhere.status_code == nowhere.status_code == 404
    assert {**elsewhere.json(), "instance": ""} == {**nowhere.json(), "instance": ""}


async def test_balances_now_and_before(filled: Mirror, client: httpx.AsyncClient) -> None:
    """The current balance beside the history, newest first."""
    own = (await ask(client, "/banking/accounts/acct_1/balances"))["data"]

    assert [balance["current_minor"] for balance in own["current"]] == [123_456]
    assert [balance["current_minor"] for balance in own["history"]] == [123_456, 99]
    everybody = await ask(client, "/banking/balances")
    assert [balance["account_id"] for balance in everybody["data"]] == ["acct_1"]
    assert (await ask(client, "/banking/balances", currency="EUR"))["data"] == []


async def test_cash_flow_by_period_and_currency(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Sums by day, Monday's week and month; each currency stays by itself."""
    mirror.account("acct_1")
    mirror.feeds()
    mirror.total("acct_1", "2026-03-01", 100, -40)  # a Sunday
    mirror.total("acct_1", "2026-03-02", 10, -4)
    mirror.total("acct_1", "2026-03-02", 7, 0, currency="JPY")
    mirror.refresh()
    query = {"account_id": "acct_1", "from": "2026-02-01", "to": "2026-03-31"}

    def rows(answer: Any) -> list[tuple[Any, ...]]:
        keys = ("period_start", "currency", "in_minor", "in", "out", "net", "entries")
        return [tuple(period[key] for key in keys) for period in answer["data"]["periods"]]

    yen = ("2026-03-02", "JPY", 7, "7", "0", "7", 2)
    assert rows(await ask(client, "/banking/cash-flow", **query)) == [
        yen,
        ("2026-03-01", "USD", 100, "1.00", "-0.40", "0.60", 2),
        ("2026-03-02", "USD", 10, "0.10", "-0.04", "0.06", 2),
    ]
    assert rows(await ask(client, "/banking/cash-flow", **query, group="week"))[1][:3] == (
        "2026-02-23",
        "USD",
        100,
    )
    assert rows(await ask(client, "/banking/cash-flow", **query, group="month", currency="USD")) == [
        ("2026-03-01", "USD", 110, "1.10", "-0.44", "0.66", 4)
    ]
    assert (await client.get("/banking/cash-flow", params={"account_id": "acct_none"})).status_code == 404


async def test_metrics_tell_requests_and_feed_ages(filled: Mirror, client: httpx.AsyncClient) -> None:
    """Routes are counted by template, so that ids are no time series; feeds have their age."""
    await client.get("/banking/accounts/acct_1/activity")
    await client.request("BREW", "/banking/accounts")
    text = (await client.get("/metrics")).text

    activity = 'method="GET",route="/banking/accounts/{account_id}/activity",status="200"'
    assert f"bankmirror_http_requests_total{{{activity}}} 1.0" in text
    assert 'method="other"' in text
    assert "BREW" not in text
    assert 'bankmirror_feeds{feed="transactions",verdict="fresh"} 2.0' in text
    assert "bankmirror_database_up 1.0" in text
    assert 'bankmirror_feed_age_seconds{feed="balances"}' in text
