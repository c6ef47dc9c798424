"""Comparing what a bank shows with what the mirror holds: sums of days first, rows only where those differ. Pure.

A day's tally is its number of rows, their sum, and the digest of their contents. The bank's tallies are made while
its rows pass by, so that a million of them need no more memory than their days; the mirror's are made by the database,
of the columns as they stand.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from banks.ports import FetchedTransaction
from kernel.money import exponent

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Bytes of a row's digest that count: enough that two contents never meet by chance, and what a bigint holds.
_DIGEST_BYTES = 8
# Days that are looked at row by row in one go. A window of a bank's listing, and no more rows than memory is for.
STRETCH_DAYS = 31

Kind = Literal["missing-here", "missing-at-bank", "differs", "untied", "refused-unkept"]
NoteKind = Literal[
    "quarantined",
    "settled-hold",
    "awaits-second-look",
    "unlisted-account",
    "gone-at-bank",
    "unseen-balance",
    "held-back",
]


class Slot(NamedTuple):
    """What is tallied together: the rows of an account with one day, status and currency."""

    day: date
    status: str
    currency: str


class Tally(NamedTuple):
    """How many rows a slot has, their sum in minor units, and the digest of their contents."""

    entries: int
    sum_minor: int
    digest: int


Book = Mapping[Slot, Tally]


class FieldDifference(NamedTuple):
    """A field in which the two sides differ, each as it is read by a person."""

    field: str
    bank: str
    mirror: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the mirror has otherwise than the bank. `key` is a transaction's id, or the currency of a balance
    or of a day's total.
    """

    account_id: str
    subject: Literal["account", "balance", "transaction", "day"]
    key: str
    day: date | None
    kind: Kind
    fields: tuple[FieldDifference, ...] = ()

    @property
    def place(self) -> tuple[str, str, str, date | None]:
        """What it is about. A transaction is itself on whatever day."""
        return self.account_id, self.subject, self.key, None if self.subject == "transaction" else self.day


@dataclass(frozen=True, slots=True)
class UntiedDay:
    """A day whose posted rows do not add up to the total that was kept while they were stored; sums in minor units."""

    account_id: str
    day: date
    currency: str
    total_entries: int
    total_minor: Decimal
    entries: int
    sum_minor: Decimal


class Excuse(NamedTuple):
    """What may excuse a row that only one side shows: the mirror's rules hide it, or hold it."""

    transaction_id: str
    is_quarantined: bool
    is_booked: bool
    is_awaited: bool


class Note(NamedTuple):
    """What looks like a difference and is none, by the rules of the mirror."""

    account_id: str
    kind: NoteKind
    key: str = ""


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────


def day_of(row: FetchedTransaction) -> date:
    """The day that a row counts for: of its booking; while it is pending, of when it was made, in UTC."""
    return row.booked_on or row.created_at.astimezone(UTC).date()


def text_of(row: FetchedTransaction) -> str:
    """The contents of a row as text, each field behind its length: what `days_tally` makes of the columns."""
    return (
        f"{len(row.transaction_id)}:{row.transaction_id}{row.amount_minor}{row.currency}{row.status}"
        f"{len(row.type)}:{row.type}{len(row.description)}:{row.description}"
        f"{_or_dash(row.counterparty_name)}{_or_dash(row.counterparty_account_id)}{_or_dash(row.client_reference)}"
        f"{_or_dash(row.pending_transaction_id)}{(row.created_at - _EPOCH) // _MICROSECOND}"
        f"{'-' if row.booked_on is None else '@' + row.booked_on.isoformat()}"
    )


def _or_dash(text: str | None) -> str:
    return "-" if text is None else f"{len(text)}:{text}"


def digest_of(row: FetchedTransaction) -> int:
    """The digest of a row's contents, as the database computes it: a signed integer of 64 bits."""
    return int.from_bytes(sha256(text_of(row).encode()).digest()[:_DIGEST_BYTES], "big", signed=True)


class Ledger:
    """The tallies of an account, made while its rows pass by."""

    def __init__(self, first: date | None = None, last: date | None = None) -> None:
        self._first, self._last = first or date.min, last or date.max
        self._slots: dict[Slot, list[int]] = {}
        self.rows = 0

    def add(self, rows: Iterable[FetchedTransaction]) -> None:
        """Count rows; those of other days than asked for are left out."""
        for row in rows:
            day = day_of(row)
            if not self._first <= day <= self._last:
                continue
            slot = self._slots.setdefault(Slot(day, row.status, row.currency), [0, 0, 0])
            slot[0] += 1
            slot[1] += row.amount_minor
            slot[2] ^= digest_of(row)
            self.rows += 1

    def book(self) -> Book:
        """The tallies so far."""
        return {slot: Tally(*tally) for slot, tally in self._slots.items()}


def days_that_differ(bank: Book, mirror: Book) -> list[date]:
    """The days on which the two sides do not have the same rows, oldest first."""
    return sorted({slot.day for slot in bank.keys() | mirror.keys() if bank.get(slot) != mirror.get(slot)})


def sums_of(book: Book) -> dict[str, int]:
    """The sum of all rows, in minor units, by currency."""
    sums: dict[str, int] = {}
    for slot, tally in sorted(book.items()):
        sums[slot.currency] = sums.get(slot.currency, 0) + tally.sum_minor
    return sums


def stretches(days: Sequence[date]) -> list[list[date]]:
    """The days, in stretches that one window each can list."""
    gathered: list[list[date]] = []
    for day in sorted(days):
        if gathered and day - gathered[-1][0] < timedelta(days=STRETCH_DAYS):
            gathered[-1].append(day)
        else:
            gathered.append([day])
    return gathered


# ── fields ──────────────────────────────────────────────────────────────────────────────────────────────────


def differing_fields(bank: NamedTuple, mirror: NamedTuple) -> tuple[FieldDifference, ...]:
    """The fields in which a row of the bank and its mirrored one differ."""
    theirs, ours = bank._asdict(), mirror._asdict()
    return tuple(
        FieldDifference(_NAMES.get(field, field), _shown(theirs, field), _shown(ours, field))
        for field, value in theirs.items()
        # The hash says nothing of its own: a poll that finds another one writes the same row again.
        if value != ours[field] and field != "content_hash"
    )


_NAMES = {"amount_minor": "amount", "current_minor": "current", "available_minor": "available"}


def _shown(row: Mapping[str, Any], field: str) -> str:
    value = row[field]
    return money(value, row["currency"]) if field in _NAMES and value is not None else shown(value)


def money(amount_minor: int, currency: str) -> str:
    """An amount or a sum of any size, with its currency's decimals."""
    return f"{Decimal(amount_minor).scaleb(-exponent(currency)):,f} {currency}"


def shown(value: object) -> str:
    """Any value as text. Third parties write some of it: what is not printable is escaped."""
    match value:
        case None:
            return "none"
        case datetime() | date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case str():
            return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
        case _:
            return str(value)


def described(bank: FetchedTransaction | None, mirror: FetchedTransaction | None) -> tuple[FieldDifference, ...]:
    """A row that only one side has, by what a person looks for it with."""
    row = bank or mirror
    assert row is not None
    fields = (
        ("amount", money(row.amount_minor, row.currency)),
        ("status", row.status),
        ("description", shown(row.description)),
    )
    return tuple(FieldDifference(name, text if bank else "none", text if mirror else "none") for name, text in fields)


def untied_difference(day: UntiedDay) -> Difference:
    """The contradiction of a day as a difference; here the one side is the kept total, and the other the rows."""
    fields = (
        FieldDifference("entries", f"{day.total_entries:,}", f"{day.entries:,}"),
        FieldDifference("sum", money(int(day.total_minor), day.currency), money(int(day.sum_minor), day.currency)),
    )
    told = tuple(field for field in fields if field.bank != field.mirror)
    return Difference(day.account_id, "day", day.currency, day.day, "untied", told)


def excuse(
    bank: FetchedTransaction | None, mirror: FetchedTransaction | None, found: Excuse, is_refused: bool
) -> NoteKind | None:
    """Why a row that only one side shows is no difference, if there is a reason."""
    if found.is_quarantined or (is_refused and mirror is not None):
        return "quarantined"
    if bank is not None and bank.status == "pending" and found.is_booked:
        return "settled-hold"
    if mirror is not None and found.is_awaited:
        return "awaits-second-look"
    return None


# ── what is final ───────────────────────────────────────────────────────────────────────────────────────────


def settle(
    before: Iterable[Difference] | None, now: Iterable[Difference], is_certain: Callable[[Difference], bool]
) -> tuple[list[Difference], list[Difference]]:
    """Of the differences that are seen now: those that are final, and those that may be life at the bank.

    `before` is what was doubtful after the look before; None at the first one. What a later look sees for the first
    time has happened since the first, which is what is compared: at a bank that lives there would be no end of it.

    A difference is final when two looks with a poll in between saw the very same: the mirror had its chance, and the
    bank did not move. One that needs no second look is certain at once.
    """
    seen = {difference.place: difference for difference in before or ()}
    final: list[Difference] = []
    doubtful: list[Difference] = []
    for difference in now:
        if before is not None and difference.place not in seen:
            continue
        is_same = seen.get(difference.place) == difference
        (final if is_same or is_certain(difference) else doubtful).append(difference)
    return final, doubtful
