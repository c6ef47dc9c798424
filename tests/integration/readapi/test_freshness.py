"""No answer is quiet about what is wrong: the verdict is the worst input's, and the reason names the feed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from readapi.answers import header_text
from tests.integration.readapi.mirror import NOON, Mirror

NOW = datetime.now(UTC)
# What is written here by hand is not told as a poll tells it, and the read API keeps its answers.
ASK_ANEW = {"Cache-Control": "no-cache"}
LONG_AGO = NOW - timedelta(hours=1)
STALE: dict[str, Any] = {"synced_at": LONG_AGO, "fresh_until": LONG_AGO + timedelta(minutes=1)}


async def freshness(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    """The freshness of an answer, as the database tells it now."""
    answer: dict[str, Any] = (await client.get(path, headers=ASK_ANEW)).json()["freshness"]
    return answer


def quarantine(mirror: Mirror, account_id: str, feed: str = "transactions") -> None:
    """An entry of the bank that could not be read."""
    mirror.run(
        "INSERT INTO sync.quarantine (connection_id, account_id, feed, reason, raw, raw_sha256, run_id) "
        "VALUES ('default', %s, %s, 'float', '', '', 1)",
        account_id, feed,
    )  # fmt: skip


async def test_fresh(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Everything confirmed: no reason, no remedy, and the headers count from the database's clock."""
    mirror.account("acct_1")
    mirror.feeds()
    response = await client.get("/banking/accounts/acct_1/transactions")

    told = response.json()["freshness"]
    assert (told["verdict"], told["reason"], told["remedy"]) == ("fresh", None, None)
    assert told["as_of"] < told["synced_at"] < told["fresh_until"]
    # Of a minute; a busy machine may have taken seconds of it.
    assert 1 <= int(response.headers["age"]) <= 40
    assert 20 <= int(response.headers["cache-control"].removeprefix("private, max-age=")) <= 60


@pytest.mark.parametrize("account_id", ["acct_1", ""])
async def test_partial_by_quarantine(mirror: Mirror, client: httpx.AsyncClient, account_id: str) -> None:
    """A refused entry casts doubt on its account; one that does not say whose it is, on every account."""
    mirror.account("acct_1")
    mirror.account("acct_2")
    mirror.feeds()
    quarantine(mirror, account_id)

    told = await freshness(client, "/banking/accounts/acct_1/transactions")
    neighbour = await freshness(client, "/banking/accounts/acct_2/transactions")
    assert told["verdict"] == "partial"
    assert told["reason"] == "transactions of connection default: 1 entries of the bank could not be read"
    assert "quarantine" in told["remedy"]
    assert neighbour["verdict"] == ("fresh" if account_id else "partial")


async def test_partial_by_backfill(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """While the history is being loaded, the answer says so, with what the last error was."""
    mirror.account("acct_1")
    mirror.feed("transactions", complete=False, last_error="bank-unreachable: \u202etimeout")

    told = await freshness(client, "/banking/accounts/acct_1/transactions")
    assert told["verdict"] == "partial"
    assert told["reason"] == (
        "transactions of connection default: the history is still being loaded (bank-unreachable:  timeout)"
    )


async def test_stale(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """A feed that is no longer confirmed is named, with since when; the answer must not be kept."""
    mirror.account("acct_1")
    mirror.feed("transactions", "acct_1", **STALE)
    response = await client.get("/banking/accounts/acct_1/transactions")

    told = response.json()["freshness"]
    since = LONG_AGO.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert told["verdict"] == "stale"
    assert told["reason"] == f"transactions of acct_1: not confirmed by the bank since {since}"
    assert response.headers["cache-control"] == "private, max-age=0"
    assert int(response.headers["age"]) >= 3600


async def test_stale_is_worse_than_partial(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """One verdict for several inputs: the worst, with its own reason."""
    mirror.account("acct_1")
    mirror.balance("acct_1", 1)
    mirror.feed("accounts", **STALE)
    mirror.feed("balances", complete=False)

    told = await freshness(client, "/banking/accounts/acct_1")
    assert told["verdict"] == "stale"
    assert told["reason"].startswith("accounts of connection default")


async def test_unknown(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Never read: no time is made up."""
    mirror.account("acct_1")
    mirror.feed("transactions", synced_at=None, bank_as_of=None, fresh_until=None, complete=False)
    response = await client.get("/banking/accounts/acct_1/transactions")

    told = response.json()["freshness"]
    assert (told["verdict"], told["synced_at"], told["fresh_until"]) == ("unknown", None, None)
    assert told["reason"] == "transactions of connection default: not read from the bank yet"
    assert "age" not in response.headers


async def test_a_feed_that_nobody_polls_is_unknown(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """One account without a feed among others that have one: the answer over all of them is not fresh."""
    mirror.account("acct_1")
    mirror.account("acct_2")
    mirror.balance("acct_1", 1)
    mirror.feed("accounts")
    mirror.feed("balances", "acct_1")

    told = await freshness(client, "/banking/balances")
    assert told["verdict"] == "unknown"
    assert told["reason"] == "balances of acct_2: not read from the bank yet"
    assert told["synced_at"] is None


async def test_a_dead_balance_feed_leaves_transactions_alone(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """An answer is judged by what it is made of, and by nothing else."""
    mirror.account("acct_1")
    mirror.balance("acct_1", 1)
    mirror.feed("accounts")
    mirror.feed("transactions")
    mirror.feed("balances", **STALE)

    assert (await freshness(client, "/banking/accounts/acct_1/transactions"))["verdict"] == "fresh"
    for path in ("/banking/accounts", "/banking/accounts/acct_1", "/banking/balances", "/banking/sync"):
        assert (await freshness(client, path))["verdict"] == "stale", path
    assert (await client.get("/ready")).json()["verdicts"] == {"fresh": 2, "stale": 1}


@pytest.mark.parametrize(("status", "verdict"), [("closed", "fresh"), ("open", "stale")])
async def test_a_parked_account(mirror: Mirror, client: httpx.AsyncClient, status: str, verdict: str) -> None:
    """Gone for good: what we have of a closed account is all there will be, but an open one may have moved on."""
    mirror.account("acct_1", status=status)
    mirror.feed("transactions", "acct_1", **STALE, parked_reason="bank-account-gone: HTTP 404")

    told = await freshness(client, "/banking/accounts/acct_1/transactions")
    assert told["verdict"] == verdict
    assert told["reason"].endswith("(bank-account-gone: HTTP 404)") if status == "open" else not told["remedy"]


async def test_how_many_more_are_as_bad(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Nothing is polled any more: one feed is named, and the others with the same verdict are counted, not the better
    ones.
    """
    for account_id in ("acct_1", "acct_2"):
        mirror.balance(mirror.account(account_id), 1)
    mirror.feed("accounts")
    mirror.feed("balances", **STALE)
    mirror.feed("transactions", complete=False)
    since = f"{STALE['synced_at']:%Y-%m-%dT%H:%M:%SZ}"
    told = f"balances of connection default: not confirmed by the bank since {since}"

    assert (await freshness(client, "/banking/balances"))["reason"] == f"{told} (and 1 more feed)"
    mirror.run("UPDATE sync.targets SET synced_at = %s, fresh_until = %s", STALE["synced_at"], STALE["fresh_until"])
    mirror.run("UPDATE snapshot.accounts SET last_seen_at = %s", STALE["synced_at"])
    every = (await freshness(client, "/banking/cash-position"))["reason"]
    assert every.endswith(f"since {since} (and 5 more feeds)")


async def test_a_balance_is_as_old_as_its_own_confirmation(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """A listing that is complete and fresh says nothing about the balance that was not in it."""
    mirror.balance(mirror.account("acct_1"), 1)
    mirror.balance(mirror.account("acct_2"), 1)
    mirror.feeds()
    mirror.run("UPDATE snapshot.balances SET synced_at = %s WHERE account_id = 'acct_2'", LONG_AGO)

    told = await freshness(client, "/banking/balances")
    assert told["verdict"] == "stale"
    assert told["reason"] == f"balances of acct_2: not confirmed by the bank since {LONG_AGO:%Y-%m-%dT%H:%M:%SZ}"
    assert datetime.fromisoformat(told["synced_at"]) == LONG_AGO
    assert datetime.fromisoformat(told["as_of"]) == NOON
    assert datetime.fromisoformat(told["fresh_until"]) == LONG_AGO + timedelta(seconds=61)
    assert (await freshness(client, "/banking/accounts/acct_1"))["verdict"] == "fresh"


@pytest.mark.parametrize(("status", "verdict"), [("closed", "fresh"), ("open", "unknown")])
async def test_a_missing_balance(mirror: Mirror, client: httpx.AsyncClient, status: str, verdict: str) -> None:
    """No balance is no zero: it is unknown, unless the account is closed and has none any more."""
    mirror.account("acct_1", status=status)
    mirror.feeds()

    told = await freshness(client, "/banking/accounts/acct_1")
    reason = "balances of acct_1: the bank states no balance" if verdict == "unknown" else None
    assert (told["verdict"], told["reason"]) == (verdict, reason)
    assert (told["synced_at"] is None) == (verdict == "unknown")


@pytest.mark.parametrize(("status", "verdict"), [("closed", "fresh"), ("open", "stale")])
async def test_an_account_that_is_not_listed(
    mirror: Mirror, client: httpx.AsyncClient, status: str, verdict: str
) -> None:
    """Stale at the first complete listing without it; its neighbour is not."""
    mirror.balance(mirror.account("acct_1", status=status), 1)
    mirror.balance(mirror.account("acct_2"), 1)
    mirror.feeds()
    mirror.run("UPDATE snapshot.accounts SET last_seen_at = now() - interval '20 seconds' WHERE account_id = 'acct_1'")

    told = await freshness(client, "/banking/accounts/acct_1")
    reason = "accounts of acct_1: the bank does not list it any more" if verdict == "stale" else None
    assert (told["verdict"], told["reason"]) == (verdict, reason)
    assert (await freshness(client, "/banking/accounts/acct_2"))["verdict"] == "fresh"


async def test_the_way_of_reading_that_is_not_used_says_nothing(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """After a change of the way of reading each feed is there once, judged by the way in use."""
    mirror.balance(mirror.account("acct_1"), 1)
    mirror.feeds()
    mirror.run("UPDATE sync.targets SET in_use = false, synced_at = NULL WHERE feed = 'transactions'")
    mirror.feed("transactions", "acct_1")

    answer = (await client.get("/banking/sync")).json()
    assert [feed["feed"] for feed in answer["data"]["feeds"]] == ["accounts", "balances", "transactions"]
    assert answer["freshness"]["verdict"] == "fresh"


async def test_activity_says_it_in_headers(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """The bare list has the same freshness, in ASCII: an id of any script, or with a line break, fits."""
    mirror.account("acct_ü\r\nX-Evil: 1")
    mirror.feed("transactions", "acct_ü\r\nX-Evil: 1", **STALE)
    response = await client.get("/banking/accounts/acct_%C3%BC%0D%0AX-Evil%3A 1/activity")

    assert response.status_code == 200
    assert response.headers["bankmirror-verdict"] == "stale"
    assert r"transactions of acct_\xfc\r\nX-Evil: 1: not confirmed" in response.headers["bankmirror-reason"]
    assert "x-evil" not in response.headers
    synced_at = datetime.fromisoformat(response.headers["bankmirror-synced-at"])
    assert abs(synced_at - LONG_AGO) < timedelta(seconds=1)


@pytest.mark.parametrize("text", ["plain", "ümlaut", "\r\n", "\u2028", "\U0001f600", "back\\slash"])
def test_header_text_is_printable_ascii(text: str) -> None:
    """And still says the same."""
    escaped = header_text(text)

    assert escaped.isascii()
    assert escaped.isprintable()
    assert escaped.encode().decode("unicode_escape") == text


async def test_cash_flow_is_as_fresh_as_its_view(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Unknown before the first refresh; fresh after it; stale when a change has waited for over a minute."""
    mirror.account("acct_1")
    mirror.feeds()
    mirror.total("acct_1", "2026-03-02", 100, 0)
    before = await freshness(client, "/banking/cash-flow")
    mirror.refresh()
    after = await freshness(client, "/banking/cash-flow")
    mirror.run_that_changed(datetime.now(UTC) - timedelta(seconds=30))
    soon = await freshness(client, "/banking/cash-flow")
    mirror.run_that_changed(NOON)
    late = await client.get("/banking/cash-flow", headers=ASK_ANEW)

    assert (before["verdict"], before["synced_at"]) == ("unknown", None)
    assert before["reason"] == "view daily_cash_flow: not filled yet"
    assert after["verdict"] == soon["verdict"] == "fresh"
    assert soon["synced_at"] < after["synced_at"]
    told = late.json()["freshness"]
    assert told["verdict"] == "stale"
    assert told["reason"] == "view daily_cash_flow: changes have waited for a refresh since 2026-03-02T12:00:00Z"
    assert told["synced_at"] == "2026-03-02T12:00:00+00:00"
    assert late.json()["data"]["view"]["changes_waiting_since"] == "2026-03-02T12:00:00+00:00"


async def test_cash_flow_is_as_stale_as_its_feed(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """A view that holds everything we have is no better than what we have."""
    mirror.account("acct_1")
    mirror.feed("transactions", **STALE)
    mirror.total("acct_1", "2026-03-02", 100, 0)
    mirror.refresh()

    told = await freshness(client, "/banking/cash-flow")
    assert told["verdict"] == "stale"
    assert told["reason"].startswith("transactions of connection default")


async def test_sync_lists_what_is_wrong(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Feeds by verdict, each with its own sentence."""
    mirror.balance(mirror.account("acct_1"), 1)
    mirror.balance(mirror.account("acct_2"), 1)
    mirror.feed("accounts")
    mirror.feed("balances")
    mirror.feed("transactions", "acct_1")
    mirror.feed("transactions", "acct_2", **STALE)
    answer = (await client.get("/banking/sync", params={"verdict": "stale"})).json()

    assert answer["data"]["verdicts"] == {"fresh": 5, "partial": 0, "stale": 1, "unknown": 0}
    (feed,) = answer["data"]["feeds"]
    assert (feed["account_id"], feed["feed"]) == ("acct_2", "transactions")
    assert answer["freshness"]["reason"] == feed["reason"]
    one = (await client.get("/banking/sync", params={"account_id": "acct_1"})).json()
    assert one["freshness"]["verdict"] == "fresh"
    assert [feed["feed"] for feed in one["data"]["feeds"]] == ["accounts", "balances", "transactions"]
