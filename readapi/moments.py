"""Questions about a moment: what was known then, what was true then, and what changed between two.

An answer as known at a moment never changes again, so it is given only once nothing can be stored any more that counts
as known then. A poll takes about a second; a caller waits that long here, and is refused after it.
"""

import asyncio
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from typing import Literal, LiteralString, NamedTuple, assert_never

from kernel.errors import MomentOpen, ValidationFailed
from readapi.reader import Parameters, Reader
from readapi.store import QUERIES, Answer
from readapi.transactions import Sort, completed, page_parameters

# Seconds that a caller waits for a moment that is just past to be settled, and between two looks. Ingest shows once a
# second how far the mirror is kept.
WAIT_SECONDS = 2.5
_LOOK_SECONDS = 0.1


class _Answered(NamedTuple):
    """An answer, as readapi/queries/moments.sql describes it."""

    closed_until: str | None
    state: Literal["closed", "open", "future"]
    found: bool
    data: str
    next: str | None
    freshness: str
    age_seconds: int | None
    fresh_seconds: int | None


async def list_transactions(
    reader: Reader,
    account_id: str | None,
    *,
    known_at: datetime,
    filters: Mapping[str, str],
    sort: Sort,
    after: list[str] | None,
    limit: int,
) -> Answer:
    """A page of an account's transactions as they were known, with None of all accounts'; see readapi.transactions."""
    return await _ask(
        reader,
        transactions_query(frozenset(filters), sort, everybody=account_id is None),
        "known_at",
        {"known_at": known_at.isoformat(), **page_parameters(account_id, filters, sort, after, limit)},
    )


async def list_balances(
    reader: Reader,
    *,
    known_at: datetime | None,
    as_of: datetime | None,
    currency: str | None,
    after: list[str] | None,
    limit: int,
) -> Answer:
    """A page of all accounts' balances at a moment."""
    after_id, after_currency = after or ("", "")
    return await _ask(
        reader,
        QUERIES["balances_at_list"],
        "known_at",
        {
            "known_at": _text(known_at),
            "as_of": _text(as_of),
            "currency": currency,
            "after_id": after_id,
            "after_currency": after_currency,
            "limit": str(limit),
        },
    )


async def list_balance_history(
    reader: Reader,
    account_id: str,
    *,
    known_at: datetime | None,
    as_of: datetime | None,
    before: list[str] | None,
    limit: int,
) -> Answer:
    """An account's balances at a moment, and a page of those before."""
    before_at, before_currency = before or ("infinity", "")
    return await _ask(
        reader,
        QUERIES["balance_history_at_list"],
        "known_at",
        {
            "account_id": account_id,
            "known_at": _text(known_at),
            "as_of": _text(as_of),
            "before_at": before_at,
            "before_currency": before_currency,
            "limit": str(limit),
        },
    )


async def list_cash_flow(
    reader: Reader,
    *,
    known_at: datetime,
    account_id: str | None,
    currency: str | None,
    first: date,
    last: date,
    group: str,
    after: list[str] | None,
    limit: int,
) -> Answer:
    """A page of money in and out by account, currency and period, as it was known."""
    after_id, after_currency, after_start = after or ("", "", "0001-01-01")
    return await _ask(
        reader,
        QUERIES["cash_flow_known_list"],
        "known_at",
        {
            "known_at": known_at.isoformat(),
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


async def list_differences(
    reader: Reader,
    *,
    known_from: datetime,
    known_to: datetime,
    account_id: str | None,
    first: date | None,
    last: date | None,
    after: list[str] | None,
    limit: int,
) -> Answer:
    """A page of what changed between two moments, and its summary; null days are endless."""
    after_id, after_day, after_key = after or ("", "-infinity", "")
    return await _ask(
        reader,
        QUERIES["differences_list"],
        "known_to",
        {
            "known_from": known_from.isoformat(),
            "known_to": known_to.isoformat(),
            "account_id": account_id,
            "first": None if first is None else first.isoformat(),
            "last": None if last is None else last.isoformat(),
            "after_id": after_id,
            "after_day": after_day,
            "after_key": after_key,
            "limit": str(limit),
        },
    )


async def latest(reader: Reader, account_id: str | None) -> datetime | None:
    """The newest moment that can be asked for; None before anything was read."""
    found: tuple[datetime | None] = await reader.row(QUERIES["moment_latest"], {"account_id": account_id})
    return found[0]


@cache
def transactions_query(names: frozenset[str], sort: Sort = "-created_at", *, everybody: bool = False) -> LiteralString:
    """The text of transactions_known_list with these filters in this order."""
    return completed(QUERIES["transactions_known_list"], names, sort, everybody=everybody)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


async def _ask(reader: Reader, query: LiteralString, asked: str, parameters: Parameters) -> Answer:
    """The answer, once the moment is settled; `asked` names the parameter that holds it. Raises MomentOpen."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + WAIT_SECONDS
    while True:
        answered = _Answered._make(await reader.row(query, parameters))
        match answered.state:
            case "closed":
                return Answer._make(answered[2:])
            case "future":
                raise ValidationFailed.at(asked, "must not be in the future")
            case "open":
                if clock() > deadline:
                    raise _open(asked, answered.closed_until)
            case _:
                assert_never(answered.state)
        await asyncio.sleep(_LOOK_SECONDS)


def _open(asked: str, closed_until: str | None) -> MomentOpen:
    settled = "nothing was read yet" if closed_until is None else f"what was known is settled until {closed_until}"
    return MomentOpen(f"{asked}: {settled}", closed_until=closed_until)
