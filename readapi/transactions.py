"""Pages of transactions: which rows, in which order. The texts of queries/transactions.sql are completed here."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal, LiteralString, NamedTuple, get_args

from readapi.reader import Parameters, Reader
from readapi.store import QUERIES, Answer, ask

Sort = Literal["-created_at", "created_at", "-booked_on", "booked_on", "-amount_minor", "amount_minor"]
SORTS: tuple[Sort, ...] = get_args(Sort)

# Days that a question over all accounts looks back when it has to read every row of them and names no days.
DAYS_READ = 90

_NAMED: LiteralString = "position(lower(%(counterparty)s) IN lower(entry.counterparty_name)) > 0"
_TEXT: LiteralString = (
    "(position(lower(%(text)s) IN lower(entry.description)) > 0 "
    "OR position(lower(%(text)s) IN lower(entry.counterparty_name)) > 0)"
)
# What a filter means. The keys are the parameters' names there; what is cheap to tell comes first. Those without a
# parameter are written out, so that the planner sees that an index of the pending ones will do.
FILTERS: Mapping[str, LiteralString] = MappingProxyType(
    {
        "first": "entry.day >= %(first)s::date",
        "last": "entry.day <= %(last)s::date",
        "pending": "entry.status = 'pending'",
        "posted": "entry.status = 'posted'",
        "currency": "entry.currency = %(currency)s",
        "type": "entry.type = %(type)s",
        "direction": "CASE %(direction)s WHEN 'in' THEN entry.amount_minor > 0 ELSE entry.amount_minor < 0 END",
        "min_amount_minor": "abs(entry.amount_minor) >= %(min_amount_minor)s::bigint",
        "max_amount_minor": "abs(entry.amount_minor) <= %(max_amount_minor)s::bigint",
        "counterparty_account_id": "entry.counterparty_account_id = %(counterparty_account_id)s",
        "as_of": "entry.created_at <= %(as_of)s::timestamptz "
        "AND (entry.booked_on IS NULL OR entry.booked_on <= (%(as_of)s::timestamptz AT TIME ZONE 'UTC')::date)",
        "lapsed": "entry.status = 'pending' AND entry.lapsed",
        "unlapsed": "NOT entry.lapsed",
        "counterparty": _NAMED,
        "text": _TEXT,
    }
)
# Which filters look into text that third parties wrote: what they find, and what not, tells that text.
MEMO_FILTERS = frozenset({"counterparty", "text"})
# Nearly every account has rows that pass these near the end at which a page begins, so that each can be asked alone.
_PASSED_BY_MANY = frozenset({"currency", "direction", "posted", "type", "unlapsed"})


class _Key(NamedTuple):
    """What a page is sorted by; a pending entry, which is not booked, stands on the day it was made."""

    column: LiteralString
    type: LiteralString
    lowest: str
    highest: str


_KEYS: Mapping[str, _Key] = MappingProxyType(
    {
        "created_at": _Key("created_at", "timestamptz", "-infinity", "infinity"),
        "booked_on": _Key("day", "date", "-infinity", "infinity"),
        # No amount comes near the ends of a bigint; see kernel.money.AMOUNT_MINOR_LIMIT.
        "amount_minor": _Key("amount_minor", "bigint", str(-(2**63)), str(2**63 - 1)),
    }
)


async def list_transactions(
    reader: Reader,
    account_id: str | None,
    *,
    filters: Mapping[str, str],
    sort: Sort,
    after: list[str] | None,
    limit: int,
) -> Answer:
    """A page of an account's transactions, or with None of all accounts'; `filters` has keys of FILTERS."""
    query = page_query(frozenset(filters), sort, everybody=account_id is None)
    return await ask(reader, query, page_parameters(account_id, filters, sort, after, limit))


def page_parameters(
    account_id: str | None, filters: Mapping[str, str], sort: Sort, after: list[str] | None, limit: int
) -> Parameters:
    """The parameters of a page's query; `after` has the sort key, transaction and account of the row before it."""
    key = _KEYS[sort.removeprefix("-")]
    beginning = key.highest if sort.startswith("-") else key.lowest
    after_key, after_id, after_account = after or (beginning, "", "")
    return {
        "account_id": account_id,
        "after_key": after_key,
        "after_id": after_id,
        "after_account": after_account,
        "limit": str(limit),
        **filters,
    }


def reads_all(names: frozenset[str], sort: Sort) -> bool:
    """Whether a page over all accounts must look at every row of the days: see DAYS_READ."""
    return bool(MEMO_FILTERS & names) or not sort.endswith("created_at")


@cache
def page_query(names: frozenset[str], sort: Sort = "-created_at", *, everybody: bool = False) -> LiteralString:
    """The text of transactions_list, or of transactions_newest_list, with these filters in this order."""
    if everybody and sort.endswith("created_at") and names <= _PASSED_BY_MANY:
        return completed(QUERIES["transactions_newest_list"], names, sort, everybody=True)
    return completed(QUERIES["transactions_list"], names, sort, everybody=everybody)


def completed(query: LiteralString, names: frozenset[str], sort: Sort, *, everybody: bool) -> LiteralString:
    """A query of transactions with the conditions of these filters, in this order, for one account or for all."""
    key = _KEYS[sort.removeprefix("-")]
    query = query.replace("entry.created_at /* key */", "entry." + key.column)
    query = query.replace("timestamptz /* type */", key.type)
    if not sort.startswith("-"):
        query = query.replace("DESC /* way */", "ASC").replace("< /* beyond */", ">")
        query = query.replace(">= /* within */", "<=").replace("'-infinity' /* all */", "'infinity'")
    if everybody:
        query = query.replace("entry.account_id = %(account_id)s /* whose */", "true")
    conditions = [condition for name, condition in FILTERS.items() if name in names]
    return query.replace("/* filters */", "".join(f"AND {condition} " for condition in conditions))
