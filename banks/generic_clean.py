"""Pages of transactions that are clean beyond doubt, read for half of what the careful way costs.

`generic_rows` looks at every value of every row, because a bank may send anything. Nearly every page holds nothing to
refuse or to mend, and that can be proved for the whole page at once: by a decoder that knows the contract's types, and
by a few questions about columns. Here a page is proved clean, or None is returned and the careful way decides. So both
ways must agree on every page that this one takes, and tests hold them side by side.

What the decoder (msgspec) leaves open is asked here:

- of two equal names it takes the last. So strings are counted: every string in the bytes must be one that was
  decoded, and a name that was overwritten would be one too many.
- it does not know what is no id, no currency, no day, or what PostgreSQL cannot hold.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from itertools import chain
from typing import Annotated, Literal, NamedTuple, TypeVar

from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder
from msgspec.structs import astuple

from banks.generic_pages import is_cursor
from banks.generic_rows import (
    ID_BYTES_MAX,
    PLACEHOLDER_CHARACTERS,
    PLACEHOLDERS,
    TEXT_LENGTH_MAX,
    YEAR_MAX,
    YEAR_MIN,
    day_of,
    fetched_transaction,
)
from banks.ports import FetchedTransaction, Removed
from kernel.money import AMOUNT_MINOR_LIMIT, UnknownCurrencyError, exponent

# A character is at most four bytes of UTF-8.
_Id = Annotated[str, Meta(min_length=1, max_length=ID_BYTES_MAX // 4)]
_Text = Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]
_Amount = Annotated[int, Meta(gt=-AMOUNT_MINOR_LIMIT, lt=AMOUNT_MINOR_LIMIT)]

# Between line feeds, which stand between the ids that are searched. Wider than what is refused: it only raises doubt.
_DOUBTFUL_ID = re.compile(
    rf"\n(?:[\s{re.escape(PLACEHOLDER_CHARACTERS)}]*|{'|'.join(map(re.escape, sorted(PLACEHOLDERS)))})(?=\n)"
)


class _Exact(Struct, gc=False, forbid_unknown_fields=True):
    """Every field is there, and no other."""


class _Counterparty(_Exact):
    name: _Text | None
    account_id: _Id | None


class _Transaction(_Exact):
    """The fields in the order of `banks.ports.FetchedTransaction`."""

    account_id: _Id
    transaction_id: _Id
    amount_cents: _Amount
    currency: Annotated[str, Meta(min_length=3, max_length=3)]
    status: Literal["posted", "pending"]
    type: _Text
    description: _Text
    counterparty: _Counterparty | None
    client_reference: _Id | None
    pending_transaction_id: _Id | None
    created_at: str
    booked_on: str | None


class _Removal(_Exact):
    account_id: _Id
    transaction_id: _Id


class _Changes(_Exact):
    added: list[_Transaction]
    modified: list[_Transaction]
    removed: list[_Removal]
    next_cursor: str
    has_more: bool


class _Listing(_Exact):
    data: list[_Transaction]
    next_cursor: str | None


class CleanChanges(NamedTuple):
    """A page of the change feed."""

    upserts: Sequence[FetchedTransaction]
    removed: Sequence[Removed]
    cursor: str
    has_more: bool


class CleanListing(NamedTuple):
    """A page of a listing of transactions."""

    rows: Sequence[FetchedTransaction]
    next_cursor: str | None


class _DoubtError(Exception):
    """This is not proved clean."""


def read_changes(body: bytes) -> CleanChanges | None:
    """A page of the change feed, or None where it is not clean beyond doubt."""
    page = _decode(_CHANGES, body)
    if page is None or not is_cursor(page.next_cursor):
        return None
    removed = [Removed(row.account_id, row.transaction_id) for row in page.removed]
    try:
        # Names of the page and its cursor; names and values of the removals.
        upserts = _transactions(body, [*page.added, *page.modified], strings=6 + 4 * len(removed))
        _insist_on_ids([*chain.from_iterable(removed)])
    except _DoubtError:
        return None
    return CleanChanges(upserts, removed, page.next_cursor, page.has_more)


def read_listing(body: bytes) -> CleanListing | None:
    """A page of a listing, or None where it is not clean beyond doubt."""
    page = _decode(_LISTING, body)
    if page is None or not (page.next_cursor is None or is_cursor(page.next_cursor)):
        return None
    try:
        rows = _transactions(body, page.data, strings=2 if page.next_cursor is None else 3)
    except _DoubtError:
        return None
    return CleanListing(rows, page.next_cursor)


_Page = TypeVar("_Page", _Changes, _Listing)

_CHANGES = Decoder(_Changes)
_LISTING = Decoder(_Listing)
# Strings of a transaction that are always there: the names of its fields, and seven values.
_STRINGS_OF_ROW = len(_Transaction.__struct_fields__) + 7
# The names of its fields.
_STRINGS_OF_COUNTERPARTY = 2
_OPTIONAL_IDS = ("counterparty_account_id", "client_reference", "pending_transaction_id")
_OPTIONAL_OTHERS = ("counterparty_name", "booked_on")


def _decode(decoder: "Decoder[_Page]", body: bytes) -> _Page | None:
    try:
        return decoder.decode(body)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _transactions(body: bytes, rows: Sequence[_Transaction], strings: int) -> list[FetchedTransaction]:
    """The rows of a page that holds so many strings besides theirs. Raises _DoubtError."""
    if b"\\u0000" in body:  # PostgreSQL cannot hold it. Half a surrogate pair, the decoder does not take.
        raise _DoubtError
    fetched: list[FetchedTransaction] = []
    for row in rows:
        (account_id, transaction_id, amount_minor, currency, status, kind, description, counterparty,
         reference, pending_id, created_at, booked_on) = astuple(row)  # fmt: skip
        name, counterparty_account_id = (None, None) if counterparty is None else astuple(counterparty)
        moment = _moment(created_at)
        day = None if booked_on is None and status == "pending" else _day(booked_on)
        fetched.append(
            fetched_transaction(
                account_id, transaction_id, amount_minor, currency, status, kind, description, name,
                counterparty_account_id, reference, pending_id, moment, day,
            )
        )  # fmt: skip
    if fetched:
        columns = dict(zip(FetchedTransaction._fields, zip(*fetched, strict=True), strict=True))
        _insist_on_currencies(set(columns["currency"]))
        _insist_on_ids([*set(columns["account_id"])])
        _insist_on_ids(columns["transaction_id"])
        counterparties = len(rows) - [row.counterparty for row in rows].count(None)
        strings += _STRINGS_OF_ROW * len(rows) + _STRINGS_OF_COUNTERPARTY * counterparties
        for name in _OPTIONAL_IDS:
            given = [value for value in columns[name] if value is not None]
            _insist_on_ids(given)
            strings += len(given)
        for name in _OPTIONAL_OTHERS:
            strings += len(rows) - columns[name].count(None)
    if strings != _count_strings(body):
        raise _DoubtError
    return fetched


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _DoubtError from None
    if moment.tzinfo is None or not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise _DoubtError
    return moment


def _day(text: str | None) -> date:
    day = None if text is None else day_of(text)
    if day is None:
        raise _DoubtError
    return day


def _insist_on_currencies(codes: Iterable[str]) -> None:
    try:
        for code in codes:
            exponent(code)
    except UnknownCurrencyError:
        raise _DoubtError from None


def _insist_on_ids(ids: Sequence[str]) -> None:
    if ids and _DOUBTFUL_ID.search("\n".join(["", *ids, ""])):
        raise _DoubtError


def _count_strings(body: bytes) -> int:
    """How many strings a valid document holds, names included. Raises _DoubtError where counting is not so easy."""
    quotes = body.count(b'"')
    if b"\\" in body:
        if b"\\\\" in body:  # After an escaped backslash, a quote may be either.
            raise _DoubtError
        quotes -= body.count(b'\\"')
    return quotes // 2
