"""Events really happen: the listing, the feed and the balances agree with them, and with each other."""

from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from sandbox.chaos import dice, events
from sandbox.chaos.events import EVENTS
from tests.sandbox.conftest import StartBank
from tests.waiting import until

Rows = dict[str, dict[str, Any]]


class Follower:
    """Someone who knows the books from the feed alone."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.cursor: str | None = None
        self.rows: Rows = {}
        self.page: dict[str, Any] = {}

    async def catch_up(self) -> None:
        while True:
            params: dict[str, Any] = {"limit": 500} | ({"cursor": self.cursor} if self.cursor else {})
            self.page = (await self.client.get("/transactions/changes", params=params)).json()
            for row in (*self.page["added"], *self.page["modified"]):
                self.rows[row["transaction_id"]] = row
            for gone in self.page["removed"]:
                del self.rows[gone["transaction_id"]]
            self.cursor = self.page["next_cursor"]
            if not self.page["has_more"]:
                return


async def listing(client: httpx.AsyncClient, **params: Any) -> Rows:
    rows: Rows = {}
    cursor = None
    while True:
        page = (
            await client.get("/transactions", params={"limit": 500} | params | ({"cursor": cursor} if cursor else {}))
        ).json()
        rows |= {row["transaction_id"]: row for row in page["data"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return rows


async def happen(client: httpx.AsyncClient, event: str, **wanted: Any) -> dict[str, Any]:
    response = await client.post("/_chaos/events", json={"event": event, **wanted})
    assert response.status_code == 201, response.text
    told: dict[str, Any] = response.json()
    return told


async def check_conservation(client: httpx.AsyncClient) -> None:
    """Every balance that is told is the sum of what is posted."""
    rows = await listing(client)
    for balance in (await client.get("/balances", params={"limit": 500})).json()["data"]:
        posted = (
            row for row in rows.values() if row["account_id"] == balance["account_id"] and row["status"] == "posted"
        )
        assert balance["current_cents"] == sum(row["amount_cents"] for row in posted)


@pytest.fixture
async def follower(client: httpx.AsyncClient) -> AsyncIterator[Follower]:
    """A follower who knows everything so far; whatever happened in the test, conservation holds after it."""
    follower = Follower(client)
    await follower.catch_up()
    follower.rows = await listing(client)  # Events without tombstones leave ghosts behind, for followers.
    yield follower
    await check_conservation(client)


async def test_x11_t1_t2_t3_holds_settle(client: httpx.AsyncClient, follower: Follower) -> None:
    """Under another id, linked or not, for another amount, on another day, booked before it is removed."""
    today = (await client.get("/health")).json()["bank_time"][:10]
    for event, linked, cents, days in (
        ("pending-settles", True, -1_000, 0),
        ("pending-settles-unlinked", False, -1_000, 0),
        ("pending-settles-other-amount", False, -1_180, 0),
        ("pending-settles-other-day", False, -1_000, 2),
        ("pending-settles-booked-first", True, -1_000, 0),
    ):
        [hold] = (await happen(client, "pending", account_id="acct_123", amount_cents=-1_000))["added"]
        await follower.catch_up()
        assert follower.rows[hold]["status"] == "pending"

        told = await happen(client, event, transaction_id=hold)
        await follower.catch_up()

        [settled] = told["added"]
        row = follower.rows[settled]
        assert told["removed"] == [hold]
        assert hold not in follower.rows
        assert (row["status"], row["amount_cents"]) == ("posted", cents)
        assert row["pending_transaction_id"] == (hold if linked else None)
        assert date.fromisoformat(row["booked_on"]) == date.fromisoformat(today) - timedelta(days=days)
        assert follower.rows == await listing(client)


async def test_t3_booked_first_is_so_in_the_log(client: httpx.AsyncClient, follower: Follower) -> None:
    """A page of one shows the order: the posting, then the removal; or the other way round."""
    for event, first in (("pending-settles-booked-first", "added"), ("pending-settles", "removed")):
        [hold] = (await happen(client, "pending", account_id="acct_123"))["added"]
        await follower.catch_up()
        await happen(client, event, transaction_id=hold)
        page = (await client.get("/transactions/changes", params={"cursor": follower.cursor, "limit": 1})).json()
        assert [name for name in ("added", "removed") if page[name]] == [first]
        await follower.catch_up()


async def test_t5_holds_that_come_to_nothing(client: httpx.AsyncClient, follower: Follower) -> None:
    """One is posted under its own id, one is removed, one stays for ever: no time settles it."""
    holds = [(await happen(client, "pending", account_id="acct_456"))["added"][0] for _ in range(3)]
    told = await happen(client, "pending-settles-in-place", transaction_id=holds[0], amount_cents=-77)
    await happen(client, "pending-lapses", transaction_id=holds[1])
    await follower.catch_up()

    assert told["modified"] == [holds[0]]
    assert (follower.rows[holds[0]]["status"], follower.rows[holds[0]]["amount_cents"]) == ("posted", -77)
    assert holds[1] not in follower.rows
    assert follower.rows[holds[2]]["status"] == "pending"
    assert follower.rows == await listing(client)


async def test_t6_twins(client: httpx.AsyncClient, follower: Follower) -> None:
    """Two rows that differ in nothing but their ids."""
    told = await happen(client, "twins", account_id="acct_eur_001", count=3)
    await follower.catch_up()

    rows = [follower.rows[name] | {"transaction_id": None} for name in told["added"]]
    assert len(rows) == 3
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["status"] == "posted"


async def test_t24_x13_posted_late(client: httpx.AsyncClient, follower: Follower) -> None:
    """A new row among old ones: the feed has it now, the listing where it belongs."""
    [late] = (await happen(client, "posted-late", account_id="acct_123"))["added"]
    await follower.catch_up()

    row = follower.rows[late]
    created = datetime.fromisoformat(row["created_at"]).date()
    assert [each["transaction_id"] for each in follower.page["added"]] == [late]
    assert date.fromisoformat(row["booked_on"]) == created - timedelta(days=12)
    day = {"from": row["booked_on"], "to": row["booked_on"], "account_id": "acct_123"}
    assert late in await listing(client, **day)


async def test_t29_t32_x10_posted_is_not_final(client: httpx.AsyncClient, follower: Follower) -> None:
    """Another amount, another day, for a row that was posted long since; its id stays."""
    row = next(iter((await listing(client, account_id="acct_123")).values()))
    name = row["transaction_id"]
    await happen(client, "corrected", transaction_id=name, amount_cents=4_321)
    await happen(client, "redated", transaction_id=name, days=5)
    await follower.catch_up()

    assert [each["transaction_id"] for each in follower.page["modified"]] == [name]
    assert follower.rows[name]["amount_cents"] == 4_321
    assert date.fromisoformat(follower.rows[name]["booked_on"]) == date.fromisoformat(row["booked_on"]) - timedelta(
        days=5
    )
    assert follower.rows == await listing(client)


async def test_x12_t3_removed_and_undeleted(client: httpx.AsyncClient, follower: Follower) -> None:
    """A posted row goes and comes back under its id, as it was; and it can go again."""
    row = list((await listing(client, account_id="acct_456", status="posted")).values())[-1]
    name = row["transaction_id"]
    for _ in range(2):
        await happen(client, "removed", transaction_id=name)
        await follower.catch_up()
        assert follower.page["removed"] == [{"transaction_id": name, "account_id": "acct_456"}]
        assert (await client.get(f"/transactions/{name}")).status_code == 404
        await check_conservation(client)
        await happen(client, "undeleted", transaction_id=name)
        await follower.catch_up()
        assert follower.page["added"] == [row]
    await happen(client, "removed", transaction_id=name)
    await happen(client, "undeleted", transaction_id=name)
    await follower.catch_up()
    assert (follower.page["added"], follower.page["removed"]) == ([row], [])
    assert follower.rows == await listing(client)


def without_id(rows: Rows, account_id: str | None = None) -> list[str]:
    return sorted(
        str(row | {"transaction_id": None}) for row in rows.values() if account_id in (None, row["account_id"])
    )


@pytest.mark.parametrize("removed", [True, False])
async def test_t10_one_row_gets_another_id(client: httpx.AsyncClient, follower: Follower, removed: bool) -> None:
    """The same row under another id; with a tombstone for the old one, or as a ghost in the feed."""
    before = await listing(client)
    name = next(iter(before))
    told = await happen(client, "rekeyed", transaction_id=name, removed=removed)
    await follower.catch_up()

    after = await listing(client)
    assert told["removed"] == ([name] if removed else [])
    assert name not in after
    assert without_id(before) == without_id(after)
    assert follower.rows == after | ({} if removed else {name: before[name]})


@pytest.mark.parametrize("event", ["account-rekeyed", "id-scheme-switched"])
@pytest.mark.parametrize("removed", [True, False])
async def test_t10_all_rows_get_other_ids(
    client: httpx.AsyncClient, follower: Follower, event: str, removed: bool
) -> None:
    """Of one account, or of all: not a row more or less, and every id another."""
    account_id = "acct_jpy_001" if event == "account-rekeyed" else None
    before = await listing(client)
    wanted = {} if account_id is None else {"account_id": account_id}
    told = await happen(client, event, removed=removed, **wanted)
    await follower.catch_up()

    after = await listing(client)
    old = {name for name, row in before.items() if account_id in (None, row["account_id"])}
    assert not old & set(after)
    assert without_id(before) == without_id(after)
    assert (told["added_count"], told["removed_count"]) == (len(old), len(old) if removed else 0)
    assert set(follower.rows) == set(after) | (set() if removed else old)


async def test_t7_positional_ids(client: httpx.AsyncClient, follower: Follower) -> None:
    """An id is a place. After the next posting, each id stands for another row; the feed says "modified"."""
    account_id = "acct_kwd_001"
    first = (await listing(client, account_id=account_id)).values()
    told = await happen(client, "ids-positional", account_id=account_id)
    rows = await listing(client, account_id=account_id)
    assert set(rows) == {f"{account_id}:{n}" for n in range(1, len(first) + 1)}
    assert told["added_count"] == len(first)
    newest_first = sorted(rows.values(), key=lambda row: int(row["transaction_id"].split(":")[1]))
    assert newest_first == sorted(newest_first, key=lambda row: row["created_at"], reverse=True)

    await follower.catch_up()
    [posted] = (await happen(client, "posted-late", account_id=account_id))["added"]
    new = (await client.get(f"/transactions/{posted}")).json()
    told = await happen(client, "ids-positional", account_id=account_id)

    again = await listing(client, account_id=account_id)
    assert again[f"{account_id}:1"] == new | {"transaction_id": f"{account_id}:1"}
    assert without_id(again) == sorted([*without_id(rows), str(new | {"transaction_id": None})])
    assert again[f"{account_id}:2"] == rows[f"{account_id}:1"] | {"transaction_id": f"{account_id}:2"}
    assert (told["modified_count"], told["added_count"]) == (len(rows), 1)
    await happen(client, "id-scheme-switched", removed=True)


async def test_what_will_become_of_a_hold_follows_its_id(client: httpx.AsyncClient, bank_url: str) -> None:
    """Life settles holds by their ids: one that was renamed meanwhile is settled all the same."""
    [hold] = (await happen(client, "pending", account_id="acct_kwd_001"))["added"]
    async with await psycopg.AsyncConnection.connect(bank_url, autocommit=True) as conn:
        await conn.execute("INSERT INTO bank.holds VALUES (%s, 'infinity', 'posted')", [hold])
        for event, wanted in (("rekeyed", {"transaction_id": hold}), ("ids-positional", {"account_id": "acct_kwd_001"}),
                              ("account-rekeyed", {"account_id": "acct_kwd_001"})):  # fmt: skip
            await happen(client, event, **wanted)
            cursor = await conn.execute("SELECT transaction_id FROM bank.holds WHERE due_at = 'infinity'")
            [(now,)] = await cursor.fetchall()
            assert now != hold
            assert (await client.get(f"/transactions/{now}")).json()["status"] == "pending"
            hold = now


async def test_t12_an_account_is_relinked(client: httpx.AsyncClient, follower: Follower) -> None:
    """Another account id with the same history and balance, and not a word of the old one."""
    [account] = [a for a in (await client.get("/accounts")).json()["data"] if a["account_id"] == "acct_eur_001"]
    balance = (await client.get("/accounts/acct_eur_001/balance")).json()
    before = await listing(client, account_id="acct_eur_001")

    told = await happen(client, "account-relinked", account_id="acct_eur_001", new_account_id="acct_eur_002")
    await follower.catch_up()

    after = await listing(client, account_id="acct_eur_002")
    accounts = [a["account_id"] for a in (await client.get("/accounts")).json()["data"]]
    assert told["account_ids"] == ["acct_eur_001", "acct_eur_002"]
    assert ("acct_eur_001" in accounts, "acct_eur_002" in accounts) == (False, True)
    assert (await client.get("/accounts/acct_eur_001")).status_code == 404
    assert await listing(client, account_id="acct_eur_001") == {}
    strip = {"account_id": None, "transaction_id": None}
    assert sorted(str(row | strip) for row in before.values()) == sorted(str(row | strip) for row in after.values())
    assert not set(before) & set(after)
    now = (await client.get("/accounts/acct_eur_002/balance")).json()
    assert (now["current_cents"], now["available_cents"]) == (balance["current_cents"], balance["available_cents"])
    assert (await client.get("/accounts/acct_eur_002")).json() == account | {"account_id": "acct_eur_002"}

    kept = await happen(
        client, "account-relinked", account_id="acct_eur_002", new_account_id="acct_eur_001", rekey=False
    )
    assert set(await listing(client, account_id="acct_eur_001")) == set(after)
    assert kept["modified_count"] == len(after)


async def test_t53_an_account_is_closed_and_reopened(client: httpx.AsyncClient, follower: Follower) -> None:
    """410 for everything about it, and it is listed as closed; then all is as it was."""
    before = await listing(client, account_id="acct_456")
    await happen(client, "account-closed", account_id="acct_456")
    for path in ("/accounts/acct_456", "/accounts/acct_456/balance", "/transactions?account_id=acct_456"):
        response = await client.get(path)
        assert (response.status_code, response.json()["type"]) == (410, "/problems/account-gone")
    [account] = [a for a in (await client.get("/accounts")).json()["data"] if a["account_id"] == "acct_456"]
    assert account["status"] == "closed"
    assert "acct_456" not in {b["account_id"] for b in (await client.get("/balances")).json()["data"]}

    told = await happen(client, "account-reopened")
    assert told["account_ids"] == ["acct_456"]
    assert await listing(client, account_id="acct_456") == before
    assert (await client.get("/accounts/acct_456")).json()["status"] == "open"


async def test_t45_t46_balances(client: httpx.AsyncClient, follower: Follower) -> None:
    """Null, absent, of yesterday, and told again."""
    path = "/accounts/acct_jpy_001/balance"
    right = (await client.get(path)).json()
    await happen(client, "balance-missing", account_id="acct_jpy_001")
    assert (await client.get(path)).json()["current_cents"] is None
    await happen(client, "balance-missing", account_id="acct_jpy_001", how="absent")
    assert "acct_jpy_001" not in {b["account_id"] for b in (await client.get("/balances")).json()["data"]}

    await happen(client, "balance-lagging", account_id="acct_jpy_001", seconds=3_600)
    await happen(client, "twins", account_id="acct_jpy_001", amount_cents=-50)
    lagging = (await client.get(path)).json()
    assert (lagging["current_cents"], lagging["available_cents"]) == (right["current_cents"], None)
    assert datetime.fromisoformat(lagging["as_of"]) < datetime.fromisoformat(right["as_of"])

    await happen(client, "balance-told", account_id="acct_jpy_001")
    assert (await client.get(path)).json()["current_cents"] == right["current_cents"] - 100


async def test_x7_a_text_that_hides_something(client: httpx.AsyncClient, follower: Follower) -> None:
    """The characters are in the books: listing and feed have them alike."""
    [name] = (await happen(client, "memo-hidden-booked"))["added"]
    await follower.catch_up()

    assert {"\u202e", "\u200b", "\U000e0041"} <= set(follower.rows[name]["description"])
    assert follower.rows == await listing(client)


async def test_nothing_to_change(client: httpx.AsyncClient) -> None:
    """A problem says that there is nothing that it could happen to, and nothing happens."""
    head = (await client.get("/health")).json()["head"]
    nothing = ({"event": "pending-lapses", "transaction_id": "x"}, {"event": "undeleted", "transaction_id": "x"},
               {"event": "account-reopened"})  # fmt: skip
    for wanted in nothing:
        response = await client.post("/_chaos/events", json=wanted)
        assert (response.status_code, response.json()["type"]) == (409, "/problems/nothing-to-change")
    assert (await client.post("/_chaos/events", json={"event": "twins", "account_id": "no"})).status_code == 404
    assert (await client.get("/health")).json()["head"] == head


async def test_events_by_themselves(second_url: str, start_bank: StartBank) -> None:
    """They happen beside life, and a follower of the feed ends up with the books as they are."""
    async with start_bank(second_url, life=True, chaos_events_per_minute=3_000, speed=3_600) as client:
        follower = Follower(client)
        await follower.catch_up()

        async def enough() -> bool:
            await follower.catch_up()
            counts: dict[str, int] = (await client.get("/_chaos")).json()["events_done"]
            return sum(counts.values()) >= 60

        await until(enough)
        done = (await client.delete("/_chaos")).json()["events_done"]
    async with start_bank(second_url) as client:  # Nothing lives here any more: both can be read in peace.
        follower.client = client
        await follower.catch_up()
        assert follower.rows == await listing(client)
        await check_conservation(client)
    assert len(done) > 5
    assert set(done) <= {event.name for event in EVENTS.values() if event.weight}


def test_chance_chooses_the_same_events() -> None:
    """The seed and the number decide; over time everything with a weight happens."""
    chosen = [events.one_by_chance(dice.event_dice(3, number)).name for number in range(600)]

    assert chosen == [events.one_by_chance(dice.event_dice(3, number)).name for number in range(600)]
    assert set(chosen) == {event.name for event in EVENTS.values() if event.weight}


async def test_events_are_the_seeds(bank_url: str, start_bank: StartBank) -> None:
    """Which account, which amount: one seed chooses alike, another one otherwise."""
    told = []
    for seed in (4, 4, 5):
        async with start_bank(bank_url) as client:
            await client.put("/_chaos", json={"seed": seed})
            names = [(await happen(client, "pending"))["added"][0] for _ in range(5)]
            rows = await listing(client)
            told.append([(rows[name]["account_id"], rows[name]["amount_cents"]) for name in names])
    assert told[0] == told[1] != told[2]
    assert len(set(told[0])) > 1
