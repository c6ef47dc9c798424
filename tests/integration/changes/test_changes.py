"""The changes since a cursor: nothing is lost when transactions commit out of order, and a cursor is good for ever."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psycopg
import pytest

from readapi.store import QUERIES
from tests.integration.changes.copy import Copy
from tests.integration.readapi.mirror import Mirror, asking

INSERT = """
INSERT INTO snapshot.transactions (account_id, transaction_id, amount_minor, currency, status, type, description,
                                   created_at, booked_on, content_hash, run_id)
VALUES ('acct_a', %s, -5, 'USD', 'posted', 'card', 'COFFEE', now(), current_date, '', 1)
"""
END = """
WITH gone AS (DELETE FROM snapshot.transactions WHERE transaction_id = %s RETURNING *)
INSERT INTO snapshot.transaction_revisions
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
       known_from, run_id, now(), 'removed', NULL, 1 FROM gone
"""


@asynccontextmanager
async def poll_that_commits_late(mirror: Mirror, transaction_id: str) -> AsyncIterator[None]:
    """A run that has stored a transaction, and commits only at the end of the block."""
    (run_id,) = mirror.run(
        "INSERT INTO sync.runs (connection_id, account_id, feed, lease_epoch, outcome)"
        " VALUES ('default', '', 'transactions', 1, 'running') RETURNING run_id"
    )[0]
    with psycopg.connect(mirror.url) as late:
        late.execute(INSERT.encode(), [transaction_id])
        yield
    mirror.run("UPDATE sync.runs SET outcome = 'complete' WHERE run_id = %s", run_id)
    mirror.run("SELECT sync.move_clock()")


async def overtaken(mirror: Mirror, client: httpx.AsyncClient) -> set[str]:
    """What a reader knows who reads between two commits, of which the one that began later comes first."""
    copy = Copy()
    async with poll_that_commits_late(mirror, "early"):
        mirror.run(INSERT, "late")
        mirror.run("SELECT sync.move_clock()")
        await copy.catch_up(client, 10)
    await copy.catch_up(client, 10)
    return {transaction_id for _, transaction_id in copy.rows}


async def test_a_commit_that_was_overtaken_is_not_lost(filled: Mirror, client: httpx.AsyncClient) -> None:
    """The window ends before the oldest poll that is still open, so that what it stores is in the next one."""
    assert await overtaken(filled, client) == {"early", "late"}


async def test_the_guard_can_fail(filled: Mirror, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a window that ends now loses what commits after it."""
    text = QUERIES["changes_list"]
    until_now = text.replace("closed.until - interval '1 us'", "clock_timestamp()")
    assert until_now != text
    monkeypatch.setattr("readapi.changes.QUERIES", {**QUERIES, "changes_list": until_now})
    async with asking(database_url) as client:
        assert await overtaken(filled, client) == {"late"}


async def test_an_account_that_is_listed_after_its_transactions(filled: Mirror, client: httpx.AsyncClient) -> None:
    """Its transactions are older than the cursor, and told all the same."""
    filled.run(INSERT.replace("acct_a", "acct_b"), "tx_b")
    filled.run("SELECT sync.move_clock()")
    copy = Copy()
    await copy.catch_up(client, 10)
    assert copy.rows == {}
    filled.account("acct_b")
    filled.run("SELECT sync.move_clock()")
    await copy.catch_up(client, 10)

    assert set(copy.rows) == {("acct_b", "tx_b")}


async def test_from_now(filled: Mirror, client: httpx.AsyncClient) -> None:
    """Nothing of before, with a cursor for what comes."""
    filled.run(INSERT, "tx_1")
    filled.run("SELECT sync.move_clock()")
    page = (await client.get("/banking/changes", params={"from": "now"})).json()
    assert page["data"] == {"added": [], "modified": [], "removed": [], "balances": []}
    assert page["has_more"] is False
    filled.run(END, "tx_1")
    filled.run(INSERT, "tx_2")
    filled.run("SELECT sync.move_clock()")
    data = (await client.get("/banking/changes", params={"cursor": page["next_cursor"]})).json()["data"]

    assert [row["transaction_id"] for row in data["added"]] == ["tx_2"]
    assert data["removed"] == [
        {"account_id": "acct_a", "transaction_id": "tx_1", "successor_id": None, "ended_by": "removed"}
    ]


async def test_how_far_it_can_be_trusted_is_in_headers_too(filled: Mirror, client: httpx.AsyncClient) -> None:
    """As of every answer about now."""
    response = await client.get("/banking/changes")
    told = response.json()["freshness"]
    assert response.headers["bankmirror-verdict"] == told["verdict"] == "unknown"
    assert response.headers["bankmirror-reason"] == told["reason"]


async def test_a_window_that_was_left_in_the_middle(filled: Mirror, client: httpx.AsyncClient) -> None:
    """However much happens meanwhile: its other pages are as they would have been; the next window says the rest."""
    for number in range(4):
        filled.run(INSERT, f"tx_{number}")
    filled.run("SELECT sync.move_clock()")
    copy = Copy()
    await copy.turn(client, 2)
    cursor = copy.cursor
    at_once = (await client.get("/banking/changes", params={"limit": "2", "cursor": str(cursor)})).json()["data"]
    for number in range(4):
        filled.run(END, f"tx_{number}")
    filled.run(INSERT, "tx_9")
    filled.run("SELECT sync.move_clock()")

    page = await copy.turn(client, 2)
    assert page["data"] == at_once
    assert {key[1] for key in copy.rows} == {"tx_0", "tx_1", "tx_2", "tx_3"}
    await copy.catch_up(client, 2)
    assert {key[1] for key in copy.rows} == {"tx_9"}


async def test_a_cursor_is_of_its_query(filled: Mirror, client: httpx.AsyncClient) -> None:
    """For one account it is no cursor of all of them, and an account that is not there has none."""
    cursor = (await client.get("/banking/changes", params={"account_id": "acct_a"})).json()["next_cursor"]
    other = await client.get("/banking/changes", params={"cursor": cursor})
    absent = await client.get("/banking/changes", params={"account_id": "acct_x"})

    assert (other.status_code, other.json()["type"]) == (400, "/problems/cursor-invalid")
    assert (absent.status_code, absent.json()["type"]) == (404, "/problems/not-found")
    assert (await client.get("/banking/changes", headers={"accept": "image/png"})).status_code == 406
