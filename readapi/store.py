"""The only place of the read API that runs SQL. Every answer is one row, made in one round trip."""

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import LiteralString, NamedTuple

from kernel.sql import load_queries
from readapi.reader import Parameters, Reader

QUERIES = load_queries("readapi")

# What a filter of transactions_list means. The keys are the parameters' names there.
TRANSACTION_FILTERS: Mapping[str, LiteralString] = {
    "first": "entry.day >= %(first)s::date",
    "last": "entry.day <= %(last)s::date",
    "status": "entry.status = %(status)s",
    "type": "entry.type = %(type)s",
    "direction": "CASE %(direction)s WHEN 'in' THEN entry.amount_minor > 0 ELSE entry.amount_minor < 0 END",
    "min_amount_minor": "abs(entry.amount_minor) >= %(min_amount_minor)s::bigint",
    "max_amount_minor": "abs(entry.amount_minor) <= %(max_amount_minor)s::bigint",
    "counterparty_account_id": "entry.counterparty_account_id = %(counterparty_account_id)s",
    "as_of": "entry.created_at <= %(as_of)s::timestamptz "
    "AND (entry.booked_on IS NULL OR entry.booked_on <= (%(as_of)s::timestamptz AT TIME ZONE 'UTC')::date)",
}


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
    return await _ask(reader, QUERIES["account_get"], {"account_id": account_id})


async def list_accounts(
    reader: Reader, *, status: str | None, currency: str | None, after: list[str] | None, limit: int
) -> Answer:
    """A page of accounts."""
    (after_id,) = after or ("",)
    return await _ask(
        reader,
        QUERIES["accounts_list"],
        {"status": status, "currency": currency, "after_id": after_id, "limit": str(limit)},
    )


async def list_activity(reader: Reader, account_id: str, *, limit: int) -> Answer:
    """The newest transactions and transfers under way of an account, as one bare list."""
    return await _ask(reader, QUERIES["activity_list"], {"account_id": account_id, "limit": str(limit)})


async def list_balance_history(reader: Reader, account_id: str, *, before: list[str] | None, limit: int) -> Answer:
    """An account's balances now, and a page of those before."""
    before_at, before_currency = before or ("infinity", "")
    return await _ask(
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
    return await _ask(
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
    return await _ask(
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
    return await _ask(
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
    return await _ask(reader, QUERIES["transaction_get"], {"account_id": account_id, "transaction_id": transaction_id})


async def list_transactions(
    reader: Reader, account_id: str, *, filters: Mapping[str, str], before: list[str] | None, limit: int
) -> Answer:
    """A page of an account's transactions; `filters` has keys of TRANSACTION_FILTERS."""
    before_at, before_id = before or ("infinity", "")
    return await _ask(
        reader,
        transactions_query(frozenset(filters)),
        {
            "account_id": account_id,
            "before_at": before_at,
            "before_id": before_id,
            "limit": str(limit),
            **filters,
        },
    )


async def count_feeds(reader: Reader) -> list[FeedCount]:
    """The feeds by verdict."""
    return [FeedCount(*row) for row in await reader.rows(QUERIES["feeds_count"], {})]


@cache
def transactions_query(names: frozenset[str]) -> LiteralString:
    """The text of transactions_list with the conditions of the filters that are set."""
    return with_filters(QUERIES["transactions_list"], names)


def with_filters(query: LiteralString, names: frozenset[str]) -> LiteralString:
    """A query of transactions with the conditions of the filters that are set."""
    conditions = [condition for name, condition in TRANSACTION_FILTERS.items() if name in names]
    return query.replace("/* filters */", "".join(f"AND {condition} " for condition in conditions))


async def _ask(reader: Reader, query: LiteralString, parameters: Parameters) -> Answer:
    return Answer._make(await reader.row(query, parameters))
