"""Rows of the generic contract, translated exactly or refused with the reason.

A page may hold hundreds of rows and a backfill millions of them, so these are plain checks over plain dicts:
about 5 µs for a transaction. Nothing here raises for anything that JSON can hold.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar

from banks.ports import FetchedAccount, FetchedBalance, FetchedTransaction, Refused, Removed
from banks.strict_json import NotStrictJSONError, parse
from kernel.money import AMOUNT_MINOR_LIMIT, UnknownCurrencyError, exponent

Row = TypeVar("Row")

# An id is a key of ours: PostgreSQL refuses index entries above 2,704 bytes, and no bank's id comes near
# this.
ID_BYTES_MAX = 255
# A longer text is cut, with an ellipsis where it was: a row of money is not refused for what somebody wrote
# on it.
TEXT_LENGTH_MAX = 4_096
# What quarantine keeps of a refused row. The rest would only fill the disk at the sender's wish.
RAW_BYTES_MAX = 65_536
# Years outside are mistakes, and some of them PostgreSQL can hold but Python cannot read back.
YEAR_MIN, YEAR_MAX = 1970, 2200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Written by banks where an id is missing. As an id, one of these would make one transaction out of many.
PLACEHOLDERS = frozenset(
    word for name in ("null", "nil", "none", "undefined", "unknown", "n/a", "na", "notprovided")
    for word in (name, name.upper(), name.capitalize())
)  # fmt: skip
PLACEHOLDER_CHARACTERS = "0-."
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class _RefusedError(Exception):
    """This row cannot be translated; the text says why, without quoting the row."""


def translate(rows: Sequence[Any], translation: Callable[[dict[str, Any]], Row]) -> tuple[list[Row], list[Refused]]:
    """Every row of a page, either translated or refused."""
    good: list[Row] = []
    refused: list[Refused] = []
    for row in rows:
        try:
            if type(row) is not dict:
                raise _RefusedError("the row is not an object")
            good.append(translation(row))
        except _RefusedError as error:
            refused.append(_refusal(row, str(error)))
    return good, refused


def transaction(row: dict[str, Any]) -> FetchedTransaction:
    """A transaction with the hash of its content."""
    account_id = _id(row, "account_id")
    transaction_id = _id(row, "transaction_id")
    currency = _currency(row)
    amount_minor = _amount(row, "amount_cents")
    status = _one_of(row, "status", ("posted", "pending"))
    kind = _text(row, "type")
    description = _text(row, "description")
    name, counterparty_account_id = _counterparty(row)
    reference = _optional_id(row, "client_reference")
    pending_id = _optional_id(row, "pending_transaction_id")
    created_at = _moment(row, "created_at")
    booked_on = _optional_day(row, "booked_on")
    if booked_on is None and status == "posted":
        raise _RefusedError("posted, but booked_on is missing")
    return fetched_transaction(
        account_id, transaction_id, amount_minor, currency, status, kind, description, name,
        counterparty_account_id, reference, pending_id, created_at, booked_on,
    )  # fmt: skip


def fetched_transaction(
    account_id: str,
    transaction_id: str,
    amount_minor: int,
    currency: str,
    status: str,
    kind: str,
    description: str,
    counterparty_name: str | None,
    counterparty_account_id: str | None,
    client_reference: str | None,
    pending_transaction_id: str | None,
    created_at: datetime,
    booked_on: date | None,
) -> FetchedTransaction:
    """The fields with their hash. It must stay as it is: another one would make all that is stored look changed."""
    # A difference of datetimes is the same whatever offset the bank writes, and cheap to spell.
    since = created_at - _EPOCH
    # No field can hold a NUL, and a value that may be missing stands behind an equals sign: no two rows look
    # alike.
    content = "\0".join(
        (
            account_id,
            transaction_id,
            str(amount_minor),
            currency,
            status,
            kind,
            description,
            "" if counterparty_name is None else "=" + counterparty_name,
            "" if counterparty_account_id is None else "=" + counterparty_account_id,
            "" if client_reference is None else "=" + client_reference,
            "" if pending_transaction_id is None else "=" + pending_transaction_id,
            f"{since.days} {since.seconds} {since.microseconds}",
            "" if booked_on is None else _spelled(booked_on),
        )
    )
    return FetchedTransaction(
        account_id,
        transaction_id,
        amount_minor,
        currency,
        status,
        kind,
        description,
        counterparty_name,
        counterparty_account_id,
        client_reference,
        pending_transaction_id,
        created_at,
        booked_on,
        blake2b(content.encode(), digest_size=16).digest(),
    )


def reread(raw: bytes) -> FetchedTransaction | Refused:
    """A transaction from the bytes that were kept of one that was refused, if it can be translated today."""
    try:
        row = parse(raw)
    except NotStrictJSONError:
        # More than we keep of a row, or nested so deeply that it could not be written down.
        return Refused("", "the bytes that were kept are not the whole row", raw)
    good, refused = translate([row], transaction)
    return good[0] if good else refused[0]


def account(row: dict[str, Any]) -> FetchedAccount:
    """An account."""
    status = _one_of(row, "status", ("open", "closed"))
    return FetchedAccount(_id(row, "account_id"), _text(row, "name"), _text(row, "type"), _currency(row), status)


def balance(row: dict[str, Any]) -> FetchedBalance:
    """A balance. What the bank does not say stays unsaid: a missing current balance is refused, not zero."""
    available = None if row.get("available_cents") is None else _amount(row, "available_cents")
    return FetchedBalance(
        _id(row, "account_id"),
        _currency(row),
        _amount(row, "current_cents"),
        available,
        _moment(row, "as_of"),
    )


def removal(row: dict[str, Any]) -> Removed:
    """A transaction that the bank took back."""
    return Removed(_id(row, "account_id"), _id(row, "transaction_id"))


def identifier(value: Any) -> str | None:
    """An id as the bank wrote it; None for what cannot be one: no text, blank, a placeholder, too long."""
    if type(value) is not str or _is_placeholder(value):
        return None
    if value.isascii():
        return value if len(value) <= ID_BYTES_MAX and "\0" not in value else None
    # Replacing what cannot be stored could make one id out of two, so such an id is none.
    return value if not _UNSTORABLE.search(value) and len(value.encode()) <= ID_BYTES_MAX else None


def _is_placeholder(text: str) -> bool:
    return text in PLACEHOLDERS or not text.strip().strip(PLACEHOLDER_CHARACTERS)


def _id(row: dict[str, Any], field: str) -> str:
    found = identifier(row.get(field))
    if found is None:
        raise _RefusedError(f"{field} is missing, a placeholder or not an id")
    return found


def _optional_id(row: dict[str, Any], field: str) -> str | None:
    value = row.get(field)
    if value is None:
        return None
    found = identifier(value)
    if found is None and not (type(value) is str and _is_placeholder(value)):
        raise _RefusedError(f"{field} is not an id")
    return found


def _currency(row: dict[str, Any]) -> str:
    code = row.get("currency")
    # The length keeps a hostile bank from filling the cache of exponents with long strings.
    if type(code) is not str or len(code) != 3:
        raise _RefusedError("currency is not a code of three letters")
    try:
        exponent(code)
    except UnknownCurrencyError:
        raise _RefusedError("the currency is unknown") from None
    return code


def _amount(row: dict[str, Any], field: str) -> int:
    amount = row.get(field)
    # `type` and not isinstance: True is an int to Python.
    if type(amount) is not int:
        raise _RefusedError(f"{field} is not a whole number of minor units")
    if not -AMOUNT_MINOR_LIMIT < amount < AMOUNT_MINOR_LIMIT:
        raise _RefusedError(f"{field} is larger than any account holds")
    return amount


def _text(row: dict[str, Any], field: str) -> str:
    text = row.get(field)
    if type(text) is not str:
        raise _RefusedError(f"{field} is not a text")
    return _storable(text)


def _storable(text: str) -> str:
    """The text as PostgreSQL can hold it: U+FFFD for NUL and for half a surrogate pair."""
    if len(text) > TEXT_LENGTH_MAX:
        text = text[: TEXT_LENGTH_MAX - 1] + "…"
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def _counterparty(row: dict[str, Any]) -> tuple[str | None, str | None]:
    counterparty = row.get("counterparty")
    if counterparty is None:
        return None, None
    if type(counterparty) is not dict:
        raise _RefusedError("counterparty is not an object")
    name = None if counterparty.get("name") is None else _text(counterparty, "name")
    return name, _optional_id(counterparty, "account_id")


def _moment(row: dict[str, Any], field: str) -> datetime:
    text = row.get(field)
    try:
        moment = datetime.fromisoformat(text)  # type: ignore[arg-type]  # Another type is the TypeError below.
    except (TypeError, ValueError):
        raise _RefusedError(f"{field} is not a timestamp") from None
    if moment.tzinfo is None:
        raise _RefusedError(f"{field} has no offset from UTC")
    if not YEAR_MIN <= moment.year <= YEAR_MAX:
        raise _RefusedError(f"{field} is in no sane year")
    return moment


def _optional_day(row: dict[str, Any], field: str) -> date | None:
    text = row.get(field)
    if text is None:
        return None
    day = day_of(text) if type(text) is str else None
    if day is None:
        raise _RefusedError(f"{field} is not a date of a sane year, as YYYY-MM-DD")
    return day


def _one_of(row: dict[str, Any], field: str, known: tuple[str, str]) -> str:
    value = row.get(field)
    if type(value) is not str or value not in known:
        raise _RefusedError(f"{field} is neither {known[0]} nor {known[1]}")
    return value


# A page's rows share a few days, and reading one again costs a quarter of reading it.
@lru_cache(maxsize=1024)
def day_of(text: str) -> date | None:
    """A day as YYYY-MM-DD; None for what is none, or of no sane year."""
    # fromisoformat also takes 20260131 and 2026-W05-6, which this contract does not have.
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if YEAR_MIN <= day.year <= YEAR_MAX else None


@lru_cache(maxsize=1024)
def _spelled(day: date) -> str:
    return day.isoformat()


def _refusal(row: Any, reason: str) -> Refused:
    known = row if type(row) is dict else {}
    try:
        raw = json.dumps(row, default=str).encode()  # ASCII: what cannot be encoded stays escaped, as it came.
    except RecursionError:
        raw = b"nested too deeply to be written again"
    return Refused(
        identifier(known.get("account_id")) or "",
        reason,
        raw[:RAW_BYTES_MAX],
        identifier(known.get("transaction_id")) or "",
        _listed_under(known),
    )


def _listed_under(row: dict[str, Any]) -> date | None:
    """The day in whose listing the row is: of its booking, else of when it was made. None where neither can be read."""
    booked_on = row.get("booked_on")
    if type(booked_on) is str and (day := day_of(booked_on)) is not None:
        return day
    try:
        return _moment(row, "created_at").astimezone(UTC).date()
    except _RefusedError:
        return None
