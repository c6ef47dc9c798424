"""Walking the pages of any list shows every row exactly once, in order, for any page size and filters."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.readapi.mirror import NOON, Mirror, asking

ROWS = 60


@pytest.fixture
def crowded(mirror: Mirror) -> Mirror:
    """Sixty transactions on five moments, so that most share theirs; and other lists to page through."""
    mirror.feeds()
    mirror.account("acct_1")
    for number in range(ROWS):
        mirror.transaction(
            "acct_1",
            (number % 7 - 3) * 100,
            # Upper and lower case, digits and an accent: the order is the database's, not Python's.
            transaction_id=f"{'aBé_'[number % 4]}{number}",
            created_at=NOON + timedelta(microseconds=number % 5),
            status="pending" if number % 3 == 0 else "posted",
            booked_on=NOON.date() + timedelta(days=number % 4),
            type="card" if number % 2 else "fee",
        )
    for number in range(25):
        mirror.account(f"acct_{number + 100}")
        mirror.balance(f"acct_{number + 100}", number)
        mirror.past_balance(
            "acct_1",
            number,
            known_from=NOON + timedelta(seconds=number // 2),
            currency="EUR" if number % 2 else "USD",
        )
        mirror.total("acct_1", f"2026-03-{number + 1:02}", number, 0, currency="EUR" if number % 2 else "USD")
    mirror.refresh()
    return mirror


async def walk(client: httpx.AsyncClient, path: str, rows: str | None, **query: Any) -> list[dict[str, Any]]:
    """All rows of all pages, by the cursor and the same by the Link header."""
    found: list[dict[str, Any]] = []
    response = await client.get(path, params=query)
    while True:
        assert response.status_code == 200, response.text
        answer = response.json()
        page = answer["data"][rows] if rows else answer["data"]
        assert len(page) <= int(query["limit"])
        found += page
        if answer["next_cursor"] is None:
            assert "link" not in response.headers
            return found
        assert len(page) == int(query["limit"])
        link = response.links["next"]["url"]
        assert httpx.URL(link).params["cursor"] == answer["next_cursor"]
        response = await client.get(link)


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["pending", "posted"]),
        "type": st.sampled_from(["card", "fee", "none"]),
        "direction": st.sampled_from(["in", "out"]),
        "min_amount_minor": st.integers(0, 300),
        "max_amount_minor": st.integers(0, 300),
        "from": st.sampled_from(["2026-03-01", "2026-03-03"]),
        "to": st.sampled_from(["2026-03-04", "2026-03-05"]),
    },
)
# The same filters once more, independently of the store's own.
MEANING: Mapping[str, str] = {
    "status": "status = %s",
    "type": "type = %s",
    "direction": "sign(amount_minor) = CASE %s WHEN 'in' THEN 1 ELSE -1 END",
    "min_amount_minor": "abs(amount_minor) >= %s",
    "max_amount_minor": "abs(amount_minor) <= %s",
    "from": "coalesce(booked_on, created_at::date) >= %s::date",
    "to": "coalesce(booked_on, created_at::date) <= %s::date",
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 70), filters=FILTERS)
async def test_walking_transactions_shows_each_once(
    crowded: Mirror, client: httpx.AsyncClient, limit: int, filters: dict[str, Any]
) -> None:
    """For any limit and any filters, the pages together are what one SELECT returns."""
    if filters.get("from", "") > filters.get("to", "9"):
        return
    if filters.get("min_amount_minor", 0) > filters.get("max_amount_minor", 300):
        return
    shown = await walk(client, "/banking/accounts/acct_1/transactions", None, limit=limit, **filters)

    where = " AND ".join(["account_id = 'acct_1'", *(MEANING[name] for name in filters)])
    expected = crowded.run(
        f"SELECT transaction_id FROM snapshot.transactions WHERE {where} ORDER BY created_at DESC, transaction_id DESC",
        *filters.values(),
    )
    assert [entry["transaction_id"] for entry in shown] == [row[0] for row in expected]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 80))
async def test_walking_other_lists_shows_each_once(crowded: Mirror, client: httpx.AsyncClient, limit: int) -> None:
    """Accounts, balances, balance histories, cash flows and feeds are paged the same way."""
    accounts = await walk(client, "/banking/accounts", None, limit=limit)
    balances = await walk(client, "/banking/balances", None, limit=limit)
    history = await walk(client, "/banking/accounts/acct_1/balances", "history", limit=limit)
    flows = await walk(
        client, "/banking/cash-flow", "periods", limit=limit, **{"from": "2026-03-01", "to": "2026-03-31"}
    )
    feeds = await walk(client, "/banking/sync", "feeds", limit=limit)

    assert [row["account_id"] for row in accounts] == [
        row[0] for row in crowded.run("SELECT account_id FROM snapshot.accounts ORDER BY 1")
    ]
    assert [row["account_id"] for row in balances] == [
        row[0] for row in crowded.run("SELECT account_id FROM snapshot.balances ORDER BY 1")
    ]
    assert [row["current_minor"] for row in history] == [
        row[0]
        for row in crowded.run(
            "SELECT current_minor FROM snapshot.balance_snapshots WHERE account_id = 'acct_1' "
            "ORDER BY known_from DESC, currency DESC"
        )
    ]
    assert [(row["currency"], row["period_start"], row["in_minor"]) for row in flows] == crowded.run(
        "SELECT currency, booked_on::text, in_minor::int FROM snapshot.daily_totals "
        "ORDER BY account_id, currency, booked_on"
    )
    assert len(feeds) == 26 * 3 == len({(row["account_id"], row["feed"]) for row in feeds})


async def test_rows_that_come_while_paging(crowded: Mirror, client: httpx.AsyncClient) -> None:
    """A newer row belongs before the cursor and is not shown; a back-dated one is, in its place, once."""
    path = "/banking/accounts/acct_1/transactions"
    first = (await client.get(path, params={"limit": 10})).json()
    crowded.transaction("acct_1", transaction_id="newer", created_at=NOON + timedelta(days=1))
    crowded.transaction("acct_1", transaction_id="older", created_at=NOON - timedelta(days=1))
    rest = await walk(client, path, None, limit=7, cursor=first["next_cursor"])

    shown = [entry["transaction_id"] for entry in [*first["data"], *rest]]
    assert len(shown) == len(set(shown)) == ROWS + 1
    assert shown[-1] == "older"
    assert "newer" not in shown


async def test_a_cursor_is_good_for_its_query_only(crowded: Mirror, client: httpx.AsyncClient) -> None:
    """Another path, another filter or one changed character: 400, and never somebody else's page."""
    path = "/banking/accounts/acct_1/transactions"
    cursor: str = (await client.get(path, params={"limit": 1, "status": "posted"})).json()["next_cursor"]

    async def status(path: str, **query: str) -> int:
        response = await client.get(path, params=query)
        if response.status_code != 200:
            assert response.json()["type"] == "/problems/cursor-invalid"
        return response.status_code

    assert await status(path, cursor=cursor, status="posted") == 200
    assert await status(path, cursor=cursor) == 400
    assert await status(path, cursor=cursor, status="pending") == 400
    assert await status("/banking/accounts/acct_100/transactions", cursor=cursor, status="posted") == 400
    assert await status("/banking/balances", cursor=cursor) == 400
    changed = [cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :] for place in (0, 5, 30)]
    assert [await status(path, cursor=text, status="posted") for text in changed] == [400] * 3


async def test_a_cursor_outlives_a_restart_and_not_a_change_of_secret(crowded: Mirror, database_url: str) -> None:
    """Workers with one secret understand each other; another secret's cursor is refused."""
    path = "/banking/balances?limit=1"
    async with asking(database_url, cursor_secret="one secret") as client:
        cursor = (await client.get(path)).json()["next_cursor"]
    async with asking(database_url, cursor_secret="one secret") as client:
        assert (await client.get(f"{path}&cursor={cursor}")).status_code == 200
    async with asking(database_url, cursor_secret="another") as client:
        assert (await client.get(f"{path}&cursor={cursor}")).status_code == 400
