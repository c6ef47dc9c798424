"""What happened, in few words: exact sums, the greatest first, and no counterparties for who may not read memos."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from readapi import models
from tests.integration.readapi.mirror import NOON, Mirror
from tests.integration.readapi.test_transactions import token

ALL = "/banking/activity-summary"
OWN = "/banking/accounts/acct_1/activity-summary"
DAYS = {"from": "2026-03-01", "to": "2026-03-31"}


@pytest.fixture
def month(mirror: Mirror) -> Mirror:
    """Dollars and yen of two accounts, and an entry outside of the days."""
    mirror.account("acct_1")
    mirror.account("acct_2", currency="JPY")
    mirror.transaction("acct_1", 3_000_00, transaction_id="salary", type="salary", counterparty_name="Employer")
    mirror.transaction("acct_1", -12_50, transaction_id="a", booked_on="2026-03-09")
    mirror.transaction("acct_1", -4_50, transaction_id="b")
    mirror.transaction("acct_1", -900_00, transaction_id="rent", type="transfer", counterparty_name=None)
    mirror.transaction("acct_1", -1_00, transaction_id="hold", status="pending", booked_on=None)
    mirror.transaction("acct_1", -7_00, transaction_id="before", booked_on="2026-02-28")
    mirror.transaction("acct_2", -500, transaction_id="y", currency="JPY")
    mirror.feeds()
    return mirror


async def summed(client: httpx.AsyncClient, path: str, **query: Any) -> models.ActivitySummary:
    """The summary."""
    response = await client.get(path, params={**DAYS, **query})
    assert response.status_code == 200, response.text
    return models.ActivitySummaries.model_validate_json(response.content).data


async def test_an_account(month: Mirror, client: httpx.AsyncClient) -> None:
    """All that counts, once by each way to look at it."""
    (dollars,) = (await summed(client, OWN)).currencies

    assert (dollars.entries, dollars.in_minor, dollars.out_minor, dollars.net) == (5, 3_000_00, -918_00, "2082.00")
    assert (str(dollars.first_day), str(dollars.last_day)) == ("2026-03-02", "2026-03-09")
    assert [(line.status, line.entries, line.out) for line in dollars.by_status] == [
        ("posted", 4, "-917.00"),
        ("pending", 1, "-1.00"),
    ]
    assert [(line.type, line.entries, line.in_, line.out) for line in dollars.by_type] == [
        ("salary", 1, "3000.00", "0.00"),
        ("transfer", 1, "0.00", "-900.00"),
        ("card", 3, "0.00", "-18.00"),
    ]
    assert dollars.by_counterparty is not None
    assert [(line.untrusted.counterparty_name, line.out_minor) for line in dollars.by_counterparty] == [
        ("Employer", 0),
        ("Coffee Ltd", -18_00),
    ]
    assert [(entry.transaction_id, entry.amount) for entry in dollars.largest][:2] == [
        ("salary", "3000.00"),
        ("rent", "-900.00"),
    ]


async def test_all_accounts_by_currency(month: Mirror, client: httpx.AsyncClient) -> None:
    """Never added up; a filter selects, and an account may be named."""
    yen, dollars = (await summed(client, ALL)).currencies

    assert (yen.currency, yen.net, dollars.currency, dollars.net_minor) == ("JPY", "-500", "USD", 2_082_00)
    assert [found.currency for found in (await summed(client, ALL, currency="JPY")).currencies] == ["JPY"]
    assert (await summed(client, ALL, account_id="acct_1")) == (await summed(client, OWN))
    assert (await client.get(ALL, params={"account_id": "none"})).status_code == 404
    scoped = await client.get(ALL, params=DAYS, headers=token(month, "read", "read:memo", accounts=["acct_2"]))
    assert [found["currency"] for found in scoped.json()["data"]["currencies"]] == ["JPY"]


async def test_few_words(month: Mirror, client: httpx.AsyncClient) -> None:
    """`top` bounds every list but that of the two statuses; days with nothing are empty."""
    (dollars,) = (await summed(client, OWN, top=1)).currencies
    assert len(dollars.by_type) == len(dollars.by_counterparty or ()) == len(dollars.largest) == 1
    assert len(dollars.by_status) == 2
    assert (await summed(client, OWN, **{"from": "2026-03-20"})).currencies == []


async def test_thirty_days_unless_it_is_said(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Back from today, or from the last day."""
    today = datetime.now(UTC).date()
    mirror.account("acct_1")
    for days in (0, 30, 31):
        mirror.transaction("acct_1", transaction_id=f"d{days}", booked_on=today - timedelta(days=days))

    data = (await client.get(OWN)).json()["data"]
    assert (data["from"], data["to"]) == (str(today - timedelta(days=30)), str(today))
    assert data["currencies"][0]["entries"] == 2
    before = (await client.get(OWN, params={"to": "0001-01-02"})).json()["data"]
    assert (before["from"], before["to"], before["currencies"]) == ("0001-01-01", "0001-01-02", [])


async def test_no_counterparties_without_the_scope(month: Mirror, client: httpx.AsyncClient) -> None:
    """Null, and not empty: it is not said that there are none."""
    response = await client.get(OWN, params=DAYS, headers=token(month, "read"))
    (dollars,) = response.json()["data"]["currencies"]

    assert dollars["by_counterparty"] is None
    assert dollars["by_type"]
    assert "Employer" not in response.text
    assert NOON.date().isoformat() == dollars["first_day"]
