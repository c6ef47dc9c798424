"""Questions about now. Every answer is one row, made in one round trip; what it is made of is in queries/."""

from datetime import date
from typing import LiteralString, NamedTuple

from kernel.sql import load_queries
from readapi.reader import Parameters, Reader

QUERIES = load_queries("readapi")


class Answer(NamedTuple):
    """One endpoint's answer, as readapi/queries/now.sql describes it."""

    found: bool
    data: str
    next: str | None
    freshness: str
    age_seconds: int | None
    fresh_seconds: int | None


class FeedCount(NamedTuple):
    """How many accounts' feeds have this verdict, and the oldest one's age."""

    feed: str
    verdict: str
    accounts: int
    oldest_age_seconds: float | None


async def get_account(reader: Reader, account_id: str) -> Answer:
    """One account with its balance."""
    return await ask(reader, QUERIES["account_get"], {"account_id": account_id})


async def list_accounts(
    reader: Reader, *, status: str | None, currency: str | None, after: list[str] | None, limit: int
) -> Answer:
    """A page of accounts."""
    (after_id,) = after or ("",)
    return await ask(
        reader,
        QUERIES["accounts_list"],
        {"status": status, "currency": currency, "after_id": after_id, "limit": str(limit)},
    )


async def list_activity(reader: Reader, account_id: str, *, limit: int) -> Answer:
    """The newest transactions and transfers under way of an account, as one bare list."""
    return await ask(reader, QUERIES["activity_list"], {"account_id": account_id, "limit": str(limit)})


async def list_balance_history(reader: Reader, account_id: str, *, before: list[str] | None, limit: int) -> Answer:
    """An account's balances now, and a page of those before."""
    before_at, before_currency = before or ("infinity", "")
    return await ask(
        reader,
        QUERIES["balance_history_list"],
        {
            "account_id": account_id,
            "before_at": before_at,
            "before_currency": before_currency,
            "limit": str(limit),
        },
    )


async def list_balances(reader: Reader, *, currency: str | None, after: list[str] | None, limit: int) -> Answer:
    """A page of all accounts' balances."""
    after_id, after_currency = after or ("", "")
    return await ask(
        reader,
        QUERIES["balances_list"],
        {"currency": currency, "after_id": after_id, "after_currency": after_currency, "limit": str(limit)},
    )


async def list_cash_flow(
    reader: Reader,
    *,
    account_id: str | None,
    currency: str | None,
    first: date,
    last: date,
    group: str,
    after: list[str] | None,
    limit: int,
) -> Answer:
    """A page of money in and out by account, currency and period."""
    after_id, after_currency, after_start = after or ("", "", "0001-01-01")
    return await ask(
        reader,
        QUERIES["cash_flow_list"],
        {
            "account_id": account_id,
            "currency": currency,
            "first": first.isoformat(),
            "last": last.isoformat(),
            "group": group,
            "after_id": after_id,
            "after_currency": after_currency,
            "after_start": after_start,
            "limit": str(limit),
        },
    )


async def list_feeds(
    reader: Reader,
    *,
    account_id: str | None,
    feed: str | None,
    verdict: str | None,
    after: list[str] | None,
    limit: int,
) -> Answer:
    """A page of feeds with their verdicts, and how many have which."""
    after_id, after_feed = after or ("", "")
    return await ask(
        reader,
        QUERIES["feeds_list"],
        {
            "account_id": account_id,
            "feed": feed,
            "verdict": verdict,
            "after_id": after_id,
            "after_feed": after_feed,
            "limit": str(limit),
        },
    )


async def get_transaction(reader: Reader, account_id: str, transaction_id: str) -> Answer:
    """One transaction with its revisions."""
    return await ask(reader, QUERIES["transaction_get"], {"account_id": account_id, "transaction_id": transaction_id})


async def count_feeds(reader: Reader) -> list[FeedCount]:
    """The feeds by verdict."""
    return [FeedCount(*row) for row in await reader.rows(QUERIES["feeds_count"], {})]


async def ask(reader: Reader, query: LiteralString, parameters: Parameters) -> Answer:
    """The answer of a query whose columns are those of an Answer. Raises a Problem."""
    return Answer._make(await reader.row(query, parameters))
