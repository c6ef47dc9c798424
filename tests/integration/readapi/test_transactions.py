"""Transactions of one account and of all: what each filter means, every order, and what a page may not tell."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel import tokens
from readapi.cursors import Cursors
from readapi.transactions import SORTS, Sort
from tests.integration.readapi.mirror import NOON, Mirror
from tests.integration.readapi.test_pages import walk

ALL = "/banking/transactions"
OWN = "/banking/accounts/acct_1/transactions"


@pytest.fixture
def crowded(mirror: Mirror) -> Mirror:
    """Forty entries of four accounts, of which many share their moment, day, amount or id."""
    mirror.feeds()
    for number in range(4):
        mirror.account(f"acct_{number}", currency="EUR" if number == 3 else "USD")
    for number in range(40):
        mirror.transaction(
            f"acct_{number % 4}",
            (number % 5 - 2) * 100,
            transaction_id=f"{'aBé_'[number % 3]}{number // 6}-{number % 2}",
            created_at=NOON + timedelta(hours=number % 6),
            status="pending" if number % 7 == 0 else "posted",
            booked_on=None if number % 7 == 0 else NOON.date() - timedelta(days=number % 3),
            currency="EUR" if number % 4 == 3 else "USD",
            type="card" if number % 2 else "fee",
        )
    return mirror


def token(mirror: Mirror, *scopes: str, accounts: list[str] | None = None) -> dict[str, str]:
    """The header of a token with these scopes."""
    made = tokens.make("test")
    mirror.run(
        "INSERT INTO access.tokens (token_id, principal, name, environment, digest, scopes, accounts)"
        " VALUES (%s, %s, %s, 'test', %s, %s, %s)",
        made.token_id,
        made.token_id,
        made.token_id,
        tokens.digest(made.text),
        list(scopes),
        accounts,
    )
    return {"Authorization": f"Bearer {made.text}"}


async def ids(client: httpx.AsyncClient, path: str, **query: Any) -> list[str]:
    """The ids on a page."""
    response = await client.get(path, params=query)
    assert response.status_code == 200, response.text
    return [entry["transaction_id"] for entry in response.json()["data"]]


# The orders once more, independently of the API's own.
MEANING = {
    "created_at": "created_at",
    "booked_on": "coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date)",
    "amount_minor": "amount_minor",
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sort=st.sampled_from(SORTS),
    limit=st.integers(1, 45),
    account_id=st.sampled_from([None, "acct_0", "acct_2"]),
    everywhere=st.booleans(),
    filters=st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["pending", "posted"]),
            "type": st.sampled_from(["card", "fee"]),
            "direction": st.sampled_from(["in", "out"]),
            "from": st.just("2026-03-01"),
        },
    ),
)
async def test_every_order_shows_each_row_once(
    crowded: Mirror,
    client: httpx.AsyncClient,
    sort: Sort,
    limit: int,
    account_id: str | None,
    everywhere: bool,
    filters: dict[str, str],
) -> None:
    """For any order, filters and page size, over one account or all, the pages together are what one SELECT returns."""
    if account_id is None or everywhere:
        path, query = ALL, {} if account_id is None else {"account_id": account_id}
    else:
        path, query = f"/banking/accounts/{account_id}/transactions", {}
    # The days are given, so that nothing is left out for its age.
    shown = await walk(client, path, None, limit=limit, sort=sort, **query, **{"to": "2026-12-31", **filters})

    meaning = {
        "status": "status = %s",
        "type": "type = %s",
        "direction": "sign(amount_minor) = CASE %s WHEN 'in' THEN 1 ELSE -1 END",
        "from": f"{MEANING['booked_on']} >= %s::date",
    }
    where = " AND ".join(["true", *(meaning[name] for name in filters)])
    way = "DESC" if sort.startswith("-") else "ASC"
    expected = crowded.run(
        f"SELECT transaction_id, account_id FROM snapshot.transactions WHERE {where}"
        + ("" if account_id is None else f" AND account_id = '{account_id}'")
        + f" ORDER BY {MEANING[sort.removeprefix('-')]} {way}, transaction_id {way}, account_id {way}",
        *filters.values(),
    )
    assert [(entry["transaction_id"], entry["account_id"]) for entry in shown] == expected


async def test_all_accounts_newest_first_off_the_heads(crowded: Mirror, client: httpx.AsyncClient) -> None:
    """Without days, which is the way that looks at the accounts one by one, in both directions and with filters."""
    for query in ({}, {"sort": "created_at"}, {"currency": "EUR"}, {"type": "fee", "direction": "out"}):
        for limit in (1, 3, 7, 50):
            shown = await walk(client, ALL, None, limit=limit, **query)
            way = "ASC" if "sort" in query else "DESC"
            where = {
                "currency": "currency = 'EUR'",
                "type": "type = 'fee' AND amount_minor < 0",
            }.get(next(iter(query), ""), "true")
            expected = crowded.run(
                f"SELECT transaction_id, account_id FROM snapshot.transactions WHERE {where}"
                f" ORDER BY created_at {way}, transaction_id {way}, account_id {way}"
            )
            assert [(entry["transaction_id"], entry["account_id"]) for entry in shown] == expected


async def test_search_finds_what_is_shown(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """In any case, in any script, literally: a percent sign means itself."""
    mirror.account("acct_1")
    mirror.transaction("acct_1", transaction_id="a", description="50% OFF Straße", counterparty_name="Müller AG")
    mirror.transaction("acct_1", transaction_id="b", description="coffee", counterparty_name=None)
    mirror.transaction("acct_1", transaction_id="c", description="x" * 200 + "needle", counterparty_name="Ödön")
    for query, expected in (
        ({"text": "0% off"}, "a"),
        ({"text": "STRAßE"}, "a"),
        ({"text": "%"}, "a"),
        ({"text": "_"}, ""),
        ({"text": "müller"}, "a"),
        ({"counterparty": "MÜLLER"}, "a"),
        ({"counterparty": "coffee"}, ""),
        ({"text": "COFFEE"}, "b"),
        ({"text": "ö"}, "c"),
        ({"text": "needle"}, ""),
        ({"text": "f", "counterparty": "a"}, "a"),
    ):
        assert sorted(await ids(client, OWN, **query)) == list(expected), query


async def test_search_over_all_accounts_looks_back_for_90_days(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Unless days or an account are given; so does an order that has to look at every row."""
    now = datetime.now(UTC)
    mirror.account("acct_1")
    for days in (1, 89, 91):
        at = now - timedelta(days=days)
        mirror.transaction("acct_1", transaction_id=f"d{days}", created_at=at, booked_on=at.date())

    assert await ids(client, ALL, text="coffee") == ["d1", "d89"]
    assert await ids(client, ALL, counterparty="coffee") == ["d1", "d89"]
    assert sorted(await ids(client, ALL, sort="amount_minor")) == ["d1", "d89"]
    assert await ids(client, ALL, text="coffee", **{"from": "2020-01-01"}) == ["d1", "d89", "d91"]
    assert await ids(client, ALL, text="coffee", account_id="acct_1") == ["d1", "d89", "d91"]
    assert await ids(client, ALL) == ["d1", "d89", "d91"]
    assert await ids(client, OWN, text="coffee") == ["d1", "d89", "d91"]


async def test_lapsed(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Pending for longer than the bank's entries ever are; it is told of now only."""
    now = datetime.now(UTC)
    mirror.account("acct_1")
    mirror.transaction("acct_1", transaction_id="old", status="pending", booked_on=None)
    mirror.transaction("acct_1", transaction_id="new", status="pending", booked_on=None, created_at=now)
    mirror.transaction("acct_1", transaction_id="posted")

    assert await ids(client, OWN, lapsed="true") == ["old"]
    assert await ids(client, OWN, lapsed="false") == ["new", "posted"]
    refused = await client.get(OWN, params={"lapsed": "true", "known_at": "2026-01-01T00:00:00Z"})
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/validation-failed")


async def test_an_account_that_is_not_there(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """404, as where it stands in the path."""
    assert (await client.get(ALL, params={"account_id": "none"})).status_code == 404


# ── what a page may not tell ─────────────────────────────────────────────────────────────────────────────────────────


async def test_text_is_searched_only_by_who_may_read_it(crowded: Mirror, client: httpx.AsyncClient) -> None:
    """A search is an oracle for the text: without read:memo it is refused, and nothing else tells it either."""
    blind = token(crowded, "read")
    seeing = token(crowded, "read", "read:memo")
    for path in (ALL, OWN):
        for name in ("text", "counterparty"):
            refused = await client.get(path, params={name: "coffee"}, headers=blind)
            assert (refused.status_code, refused.json()["type"]) == (403, "/problems/forbidden")
            assert refused.json()["needs"] == "read:memo"
            assert "coffee" not in refused.text
            found = await client.get(path, params={name: "coffee", "to": "2026-12-31"}, headers=seeing)
            assert found.json()["data"]
        shown = (await client.get(path, headers=blind)).json()["data"]
        assert shown
        assert all(entry["untrusted"]["description"] is None for entry in shown)
    # No order follows the text: the same rows in the same order, whatever it says.
    orders = [{"path": path, "sort": sort, "to": "2026-12-31"} for path in (ALL, OWN) for sort in SORTS]
    before = [await ids(client, **order) for order in orders]
    crowded.run("UPDATE snapshot.transactions SET description = reverse(transaction_id), counterparty_name = md5(type)")
    assert [await ids(client, **order) for order in orders] == before


async def test_only_accounts_in_scope_are_listed(crowded: Mirror, client: httpx.AsyncClient) -> None:
    """On every way that a page is read."""
    scoped = token(crowded, "read", "read:memo", accounts=["acct_1", "acct_2"])
    for query in ({}, {"sort": "-amount_minor"}, {"status": "pending"}, {"text": "coffee", "from": "2020-01-01"}):
        response = await client.get(ALL, params={**query, "to": "2026-12-31"}, headers=scoped)
        assert {entry["account_id"] for entry in response.json()["data"]} == {"acct_1", "acct_2"}, query
    hidden = await client.get(ALL, params={"account_id": "acct_0"}, headers=scoped)
    absent = await client.get(ALL, params={"account_id": "acct_9"}, headers=scoped)
    assert hidden.status_code == absent.status_code == 404
    assert {**hidden.json(), "instance": ""} == {**absent.json(), "instance": ""}


async def test_a_cursor_is_good_for_its_scope_only(crowded: Mirror, client: httpx.AsyncClient) -> None:
    """Another token's cursor is refused, unless both see the same: they share the kept answer that it came with."""
    scoped = token(crowded, "read", accounts=["acct_1", "acct_2"])
    same = token(crowded, "read", accounts=["acct_2", "acct_1"])
    others = [
        token(crowded, "read", accounts=["acct_1"]),
        token(crowded, "read"),
        token(crowded, "read", "read:memo", accounts=["acct_1", "acct_2"]),
        {},
    ]
    cursor = (await client.get(ALL, params={"limit": 1}, headers=scoped)).json()["next_cursor"]

    for headers in (scoped, same):
        assert (await client.get(ALL, params={"limit": 1, "cursor": cursor}, headers=headers)).status_code == 200
    for headers in others:
        response = await client.get(ALL, params={"limit": 1, "cursor": cursor}, headers=headers)
        assert response.status_code == 400
        assert response.json()["type"] == "/problems/cursor-invalid"


async def test_an_unsigned_cursor_would_be_caught(
    crowded: Mirror, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: with cursors that sign nothing, another scope's cursor is good."""
    monkeypatch.setattr(Cursors, "_sign", lambda *_: b"\0" * 16)

    with pytest.raises(AssertionError):
        await test_a_cursor_is_good_for_its_scope_only(crowded, client)
