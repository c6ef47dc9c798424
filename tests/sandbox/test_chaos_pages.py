"""Faults in what the bank says: each page says exactly the one thing wrong that the catalogue names."""

import json
import math
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from sandbox.chaos.catalogue import FAULTS
from sandbox.chaos.poison import POISONS

LISTING: dict[str, Any] = {"account_id": "acct_123", "limit": 20}


async def script(client: httpx.AsyncClient, fault: str, **wanted: Any) -> None:
    response = await client.post("/_chaos", json={"fault": fault, **wanted})
    assert response.status_code == 201, response.text


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    response = await client.get(path, params=params)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = json.loads(response.content)
    return body


async def left_in_queue(client: httpx.AsyncClient) -> int:
    return len((await client.get("/_chaos")).json()["queue"])


def spoiled(right: list[Any], wrong: list[Any]) -> tuple[Any, Any]:
    """The one row that differs, as it is and as it was told."""
    [pair] = [(one, other) for one, other in zip(right, wrong, strict=True) if str(one) != str(other)]
    return pair


def as_memo(row: dict[str, Any]) -> str:
    return str(row["description"])


# What a spoiled row must look like, by the fault's name; the right row is there to compare with.
POISONED: dict[str, Any] = {
    "currency-unknown": lambda row, _: row["currency"] == "ZZZ",
    "currency-missing": lambda row, _: row["currency"] is None,
    "amount-float": lambda row, was: type(row["amount_cents"]) is float and row["amount_cents"] == was["amount_cents"],
    "amount-fraction": lambda row, was: row["amount_cents"] == was["amount_cents"] / 100,
    "amount-text": lambda row, was: row["amount_cents"] == str(was["amount_cents"]),
    "amount-nan": lambda row, _: math.isnan(row["amount_cents"]),
    "amount-infinity": lambda row, _: row["amount_cents"] == -math.inf,
    "amount-huge": lambda row, _: row["amount_cents"] == 10**18,
    "amount-overflow": lambda row, _: row["amount_cents"] == 2**70,
    "memo-nul": lambda row, _: "\0" in row["description"],
    "memo-surrogate": lambda row, _: "\ud800" in row["description"],
    "memo-hidden": lambda row, was: row["description"].startswith("\u202e\u200b") and as_memo(was) in as_memo(row),
    "memo-megabyte": lambda row, _: len(row["description"]) == 1 << 20,
    "id-blank": lambda row, _: row["transaction_id"] == " ",
    "id-zero": lambda row, _: row["transaction_id"] == "0",
    "id-missing": lambda row, _: row["transaction_id"] is None,
    "id-long": lambda row, _: len(row["transaction_id"]) == 3_000,
    "day-10000": lambda row, _: row["booked_on"] == "10000-01-01",
    "day-1900": lambda row, _: row["booked_on"] == "1900-01-01",
    "day-infinity": lambda row, _: row["booked_on"] == "infinity",
    "day-missing": lambda row, _: (row["booked_on"], row["status"]) == (None, "posted"),
    "moment-10000": lambda row, _: row["created_at"].startswith("10000-"),
    "moment-without-offset": lambda row, _: datetime.fromisoformat(row["created_at"]).tzinfo is None,
    "moment-elsewhere": lambda row, was: (
        datetime.fromisoformat(row["created_at"]) == datetime.fromisoformat(was["created_at"])
        and row["created_at"].endswith("+13:00")
    ),
    "status-unknown": lambda row, _: row["status"] == "booked",
    "row-no-object": lambda row, _: row == "row",
    "id-in-two-accounts": lambda row, was: (
        row["transaction_id"] != was["transaction_id"] and row["account_id"] == was["account_id"]
    ),
}
# These add rows.
MORE_ROWS = {"id-twice", "row-under-two-ids", "id-nfc-nfd"}


@pytest.mark.parametrize(("path", "name"), [("/transactions", "data"), ("/transactions/changes", "added")])
async def test_b11_one_bad_row_among_good(client: httpx.AsyncClient, path: str, name: str) -> None:
    """One row is spoiled as the fault says and nothing else is; asked again, the bank tells the truth."""
    right = await get(client, path, limit=20)
    for fault, looks_so in POISONED.items():
        await script(client, fault)
        wrong = await get(client, path, limit=20)

        row_was, row = spoiled(right[name], wrong[name])
        assert looks_so(row, row_was), (fault, row)
        assert right | {name: None} == wrong | {name: None}
        assert await get(client, path, limit=20) == right


async def test_x9_an_id_twice_in_one_page(client: httpx.AsyncClient) -> None:
    """The same id, two amounts."""
    await script(client, "id-twice")

    rows = (await get(client, "/transactions", **LISTING))["data"]

    [(twice, count)] = [(name, n) for name, n in Counter(row["transaction_id"] for row in rows).items() if n > 1]
    one, other = (row for row in rows if row["transaction_id"] == twice)
    assert count == 2
    assert one["amount_cents"] != other["amount_cents"]


@pytest.mark.parametrize(("fault", "more"), [("row-under-two-ids", 1), ("id-nfc-nfd", 2)])
async def test_t13_x8_a_row_under_further_ids(client: httpx.AsyncClient, fault: str, more: int) -> None:
    """Rows that the bank does not have; when calm returns, the feed takes them back."""
    feed = await get(client, "/transactions/changes", limit=500)
    right = (await get(client, "/transactions", **LISTING))["data"]
    await script(client, fault, transaction_id=right[3]["transaction_id"])

    wrong = (await get(client, "/transactions", **LISTING))["data"]

    invented = [row["transaction_id"] for row in wrong[len(right) :]]
    assert wrong[: len(right)] == right
    assert len(invented) == len(set(invented)) == more
    told = (await client.delete("/_chaos")).json()
    assert told["withdrawn"] == invented
    later = await get(client, "/transactions/changes", cursor=feed["next_cursor"])
    assert sorted(row["transaction_id"] for row in later["removed"]) == sorted(invented)
    assert (later["added"], later["modified"]) == ([], [])


async def test_the_row_that_was_asked_for(client: httpx.AsyncClient) -> None:
    """A script can say which row; it waits for a page that has it."""
    rows = (await get(client, "/transactions", account_id="acct_456"))["data"]
    wanted = rows[5]["transaction_id"]
    await script(client, "amount-float", transaction_id=wanted)

    assert (await get(client, "/transactions", account_id="acct_jpy_001"))["data"]
    assert await left_in_queue(client) == 1
    wrong = (await get(client, "/transactions", account_id="acct_456"))["data"]

    assert spoiled(rows, wrong)[0]["transaction_id"] == wanted
    assert await left_in_queue(client) == 0


async def test_what_was_told_wrongly_is_told_again(client: httpx.AsyncClient) -> None:
    """DELETE ends faults, and the feed corrects each row that was spoiled: who follows it ends up right."""
    at = (await get(client, "/transactions/changes", limit=500))["next_cursor"]
    rows = (await get(client, "/transactions", **LISTING))["data"]
    await script(client, "amount-overflow", transaction_id=rows[0]["transaction_id"])
    await script(client, "memo-nul", transaction_id=rows[1]["transaction_id"])
    for _ in range(2):
        await get(client, "/transactions", **LISTING)

    told = (await client.delete("/_chaos")).json()

    assert sorted(told["restated"]) == sorted(row["transaction_id"] for row in rows[:2])
    later = await get(client, "/transactions/changes", cursor=at)
    assert sorted(later["modified"], key=str) == sorted(rows[:2], key=str)
    assert (await client.delete("/_chaos")).json()["restated"] == []


@pytest.mark.parametrize("path", ["/accounts", "/balances", "/transactions", "/transactions/changes"])
async def test_b10_an_empty_list(client: httpx.AsyncClient, path: str) -> None:
    """Nothing, and nothing to follow; in the feed nothing is lost: its cursor is still where it was."""
    right = await get(client, path, limit=3)
    await script(client, "list-empty")

    wrong = await get(client, path, limit=3)

    if path != "/transactions/changes":
        assert wrong == {"data": [], "next_cursor": None}
        return
    assert (wrong["added"], wrong["modified"], wrong["removed"], wrong["has_more"]) == ([], [], [], False)
    assert (await get(client, path, limit=3, cursor=wrong["next_cursor"]))["added"] == right["added"]


async def test_b10_an_empty_page_in_the_middle_of_the_feed(client: httpx.AsyncClient) -> None:
    """It ends the loop early; the cursor goes on from the same place."""
    first = await get(client, "/transactions/changes", limit=7)
    second = await get(client, "/transactions/changes", limit=7, cursor=first["next_cursor"])
    await script(client, "list-empty")

    wrong = await get(client, "/transactions/changes", limit=7, cursor=first["next_cursor"])

    assert wrong["added"] == []
    assert (await get(client, "/transactions/changes", limit=7, cursor=wrong["next_cursor"])) == second


async def test_b5_the_list_is_missing(client: httpx.AsyncClient) -> None:
    """A document that lacks what it is about."""
    await script(client, "data-missing")
    await script(client, "data-missing", route="changes")

    assert set(await get(client, "/balances")) == {"next_cursor"}
    assert "added" not in await get(client, "/transactions/changes")


@pytest.mark.parametrize("path", ["/accounts", "/transactions", "/transactions/changes"])
@pytest.mark.parametrize("fault", ["cursor-repeats", "cursor-endless", "cursor-nothing"])
async def test_b9_cursors_that_never_end(client: httpx.AsyncClient, fault: str, path: str) -> None:
    """There is always one more page, until calm returns; then the same cursor leads to where it stands for."""
    first = await get(client, path, limit=4)
    name = "added" if path == "/transactions/changes" else "data"
    second = await get(client, path, limit=4, cursor=first["next_cursor"])
    await script(client, fault)

    cursors = [first["next_cursor"]]
    for _ in range(5):
        page = await get(client, path, limit=4, cursor=cursors[-1])
        assert page[name] == ([] if fault == "cursor-nothing" else second[name])
        assert page.get("has_more", True) is True
        cursors.append(page["next_cursor"])

    assert len(set(cursors)) == (2 if fault == "cursor-repeats" else 6)
    await client.delete("/_chaos")
    assert await get(client, path, limit=4, cursor=cursors[-1]) == second


async def test_b12_the_next_page_is_at_another_host(client: httpx.AsyncClient) -> None:
    """An address where a cursor belongs; a client that sends it back as a cursor is told that it is none."""
    await script(client, "next-other-host", location="http://127.0.0.1:1/trap")

    page = await get(client, "/accounts")

    assert page["next_cursor"] == "http://127.0.0.1:1/trap"
    assert (await client.get("/accounts", params={"cursor": page["next_cursor"]})).status_code == 400


@pytest.mark.parametrize(("path", "name"), [("/transactions", "data"), ("/transactions/changes", "added")])
async def test_t23_a_row_on_two_pages(client: httpx.AsyncClient, path: str, name: str) -> None:
    """The page begins with the row that ended the one before; once also with another amount."""
    for fault in ("row-twice", "row-twice-changed"):
        await script(client, fault)
        first = await get(client, path, limit=5)
        second = await get(client, path, limit=5, cursor=first["next_cursor"])

        assert second[name][0]["transaction_id"] == first[name][-1]["transaction_id"]
        assert (second[name][0] == first[name][-1]) == (fault == "row-twice")
        assert len(second[name]) == 6


async def test_t23_a_row_on_no_page(client: httpx.AsyncClient) -> None:
    """The boundary row is skipped, as a bank with offsets does when a row before it goes."""
    first = await get(client, "/transactions", limit=5)
    second = await get(client, "/transactions", limit=5, cursor=first["next_cursor"])
    await script(client, "row-skipped")

    wrong = await get(client, "/transactions", limit=5, cursor=first["next_cursor"])

    assert wrong["data"] == second["data"][1:]


async def test_t16_only_a_later_page_fails(client: httpx.AsyncClient) -> None:
    """The first page is good whenever it is asked for; the second is not, the third again is."""
    await script(client, "error-later-page", account_id="acct_123", times=2)

    for _ in range(2):
        first = await get(client, "/transactions", **LISTING)
        failed = await client.get("/transactions", params=LISTING | {"cursor": first["next_cursor"]})
        assert failed.status_code == 502
    second = await get(client, "/transactions", **LISTING, cursor=first["next_cursor"])
    assert second["data"]


async def test_a_page_by_its_number(client: httpx.AsyncClient) -> None:
    """Any fault can be put on the third page."""
    await script(client, "error-500", page=3)
    cursor, statuses = None, []
    for _ in range(3):
        response = await client.get("/transactions", params=LISTING | ({"cursor": cursor} if cursor else {}))
        statuses.append(response.status_code)
        cursor = response.json().get("next_cursor")

    assert statuses == [200, 200, 500]


async def test_t17_b8_mutation_and_t19_expiry(client: httpx.AsyncClient) -> None:
    """409 from page two of the feed on, 410 from any; never from a list."""
    await script(client, "mutation-409")
    first = await get(client, "/transactions/changes", limit=5)
    second = await client.get("/transactions/changes", params={"cursor": first["next_cursor"]})
    await script(client, "cursor-expired")
    await get(client, "/transactions", limit=5)
    expired = await client.get("/transactions/changes", params={"cursor": first["next_cursor"]})

    assert (second.status_code, second.json()["type"]) == (409, "/problems/mutation-during-pagination")
    assert (expired.status_code, expired.json()["type"]) == (410, "/problems/cursor-expired")


@pytest.mark.parametrize(("fault", "status"), [("account-gone", 410), ("account-not-found", 404)])
async def test_t52_t53_an_account_that_is_gone(client: httpx.AsyncClient, fault: str, status: int) -> None:
    """Everything about one account; the others answer."""
    await script(client, fault, account_id="acct_456", times=3)

    for path in ("/accounts/acct_456", "/accounts/acct_456/balance", "/transactions?account_id=acct_456"):
        await get(client, path.replace("acct_456", "acct_123"))
        assert (await client.get(path)).status_code == status
    await get(client, "/accounts/acct_456")


async def test_t45_t48_balances_half_told(client: httpx.AsyncClient) -> None:
    """A null, a null that is allowed, a row that is not there, in the list and alone."""
    right = (await get(client, "/balances"))["data"]
    for fault, name in (("balance-null", "current_cents"), ("available-null", "available_cents")):
        await script(client, fault, route="balances")
        row_was, row = next(
            (one, other) for one, other in zip(right, (await get(client, "/balances"))["data"], strict=True)
            if one[name] is not None and other[name] is None
        )  # fmt: skip
        assert row_was["account_id"] == row["account_id"]
    await script(client, "balance-absent")
    assert len((await get(client, "/balances"))["data"]) == len(right) - 1
    await script(client, "balance-null", route="balance")
    assert (await get(client, "/accounts/acct_123/balance"))["current_cents"] is None


async def test_t46_b13_balances_of_another_hour(client: httpx.AsyncClient) -> None:
    """They say themselves that they are older."""
    right = await get(client, "/accounts/acct_123/balance")
    await script(client, "balance-skewed")

    skewed = await get(client, "/accounts/acct_123/balance")

    back = datetime.fromisoformat(right["as_of"]) - datetime.fromisoformat(skewed["as_of"])
    assert timedelta(minutes=50) < back <= timedelta(hours=1)
    assert skewed["current_cents"] == right["current_cents"]


async def test_t20_t21_short_pages_and_t22_a_window(client: httpx.AsyncClient) -> None:
    """The bank does less than it was asked for, and what it does is right."""
    rows = (await get(client, "/transactions", limit=500))["data"]
    await script(client, "short-pages")
    page = await get(client, "/transactions", limit=500)
    await script(client, "default-window")
    recent = (await get(client, "/transactions", limit=500))["data"]

    assert page["data"] == rows[:2]
    assert page["next_cursor"] is not None
    assert recent == rows[-len(recent) :]
    assert 0 < len(recent) < len(rows)


@pytest.mark.parametrize("fault", ["duplicate-keys", "invalid-utf8"])
async def test_b5_bytes_that_are_no_json(client: httpx.AsyncClient, fault: str) -> None:
    """A lenient parser takes one of them and loses the list; a decoder must refuse the other."""
    await script(client, fault)

    body = (await client.get("/accounts")).content

    if fault == "duplicate-keys":
        pairs = json.loads(body, object_pairs_hook=lambda pairs: pairs)
        assert [name for name, _ in pairs] == ["data", "data", "next_cursor"]
    else:
        with pytest.raises(UnicodeDecodeError):
            body.decode()


def test_every_poison_is_tested() -> None:
    """A poison without a line above would be a name only."""
    assert {poison.name for poison in POISONS} == set(POISONED) | MORE_ROWS
    assert set(FAULTS) >= set(POISONED)
