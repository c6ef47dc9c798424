"""One bad row among good ones: what banks have written where an amount, a day, an id or a text belongs."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from sandbox.chaos.acts import Edit, Fault, Page, Route, Row

_TRANSACTIONS: Final[frozenset[Route]] = frozenset({"transactions", "changes"})
_MONEY: Final[frozenset[Route]] = _TRANSACTIONS | {"balances"}

# Right-to-left override, zero-width space and joiner, a tag character: seen by a model, not by a person.
HIDDEN: Final = "\u202e\u200b\u200d\U000e0041"
_MEMO_BYTES: Final = 1 << 20
# PostgreSQL refuses an index entry above 2,704 bytes.
_LONG_ID_CHARACTERS: Final = 3_000


@dataclass(frozen=True, slots=True)
class _Poison:
    name: str
    ids: str
    about: str
    spoil: Callable[[Row], Any]
    routes: frozenset[Route] = _TRANSACTIONS

    def fault(self) -> Fault:
        return Fault(self.name, self.ids, self.about, Edit(self._apply), self.routes)

    def _apply(self, page: Page) -> bool:
        place = page.pick()
        if place is None:
            return False
        rows, at = place
        note(page, rows[at])
        rows[at] = self.spoil(rows[at])
        return True


def note(page: Page, row: Row) -> None:
    """Keep in mind that this row is told otherwise than it is."""
    if "transaction_id" in row:
        page.altered.append((row["transaction_id"], row["account_id"]))


def _amount(change: Callable[[int], Any]) -> Callable[[Row], Row]:
    def spoil(row: Row) -> Row:
        name = "current_cents" if "current_cents" in row else "amount_cents"
        return row | {name: change(row[name])}

    return spoil


def _posted(day: str | None) -> Callable[[Row], Row]:
    return lambda row: row | {"status": "posted", "booked_on": day}


def _memo(change: Callable[[str], str]) -> Callable[[Row], Row]:
    return lambda row: row | {"description": change(row["description"])}


def _id(value: Any) -> Callable[[Row], Row]:
    return lambda row: row | {"transaction_id": value}


def _elsewhere(row: Row) -> Row:
    """The same instant, written with another offset: nothing is wrong with it."""
    moment = datetime.fromisoformat(row["created_at"]).astimezone(timezone(timedelta(hours=13)))
    return row | {"created_at": moment.isoformat()}


def _twice(page: Page) -> bool:
    place = page.pick()
    if place is None:
        return False
    rows, at = place
    note(page, rows[at])
    rows.insert(page.chance.randint(0, len(rows)), rows[at] | {"amount_cents": rows[at]["amount_cents"] - 1})
    return True


def _two_ids(page: Page) -> bool:
    return _invent(page, lambda row: [f"{row['transaction_id']}-2"])


def _composed_and_not(page: Page) -> bool:
    def names(row: Row) -> list[str]:
        return [unicodedata.normalize(form, f"{row['transaction_id']}-\u00e9") for form in ("NFC", "NFD")]

    return _invent(page, names)


def _invent(page: Page, names: Callable[[Row], list[str]]) -> bool:
    place = page.pick()
    if place is None:
        return False
    rows, at = place
    row = rows[at]
    for name in names(row):
        rows.append(row | {"transaction_id": name})
        page.invented.append((name, row["account_id"]))
    return True


def _two_accounts(page: Page) -> bool:
    """The same id for a row of each of two accounts, as at banks that count from one in every account."""
    rows = [row for part in page.lists() for row in part]
    pairs = [(part, n, other) for part in page.lists() for n, row in enumerate(part) for other in rows
             if other["account_id"] != row["account_id"]]  # fmt: skip
    if not pairs:
        return False
    part, n, other = page.chance.choice(pairs)
    note(page, part[n])
    part[n] = part[n] | {"transaction_id": other["transaction_id"]}
    return True


_ROWS: Final = (
    _Poison("currency-unknown", "X1 T44", "Currency `ZZZ`.", lambda row: row | {"currency": "ZZZ"}, _MONEY),
    _Poison("currency-missing", "X1 T44", "Currency null.", lambda row: row | {"currency": None}, _MONEY),
    _Poison("amount-float", "X2 T42", "The amount as `1234.0`.", _amount(float), _MONEY),
    _Poison("amount-fraction", "X1 X2 T41 T42", "Major units, as `12.34`, also where the currency has none.",
            _amount(lambda cents: cents / 100), _MONEY),
    _Poison("amount-text", "T43", "The amount as `\"1234\"`.", _amount(str), _MONEY),
    _Poison("amount-nan", "X3", "`NaN`, which is not JSON.", _amount(lambda _: float("nan")), _MONEY),
    _Poison("amount-infinity", "X3", "`-Infinity`, which is not JSON.", _amount(lambda _: float("-inf")), _MONEY),
    _Poison("amount-huge", "X4", "10^18, which a bigint holds and no account does.", _amount(lambda _: 10**18), _MONEY),
    _Poison("amount-overflow", "X4", "2^70, which no bigint holds.", _amount(lambda _: 2**70), _MONEY),
    _Poison("memo-nul", "X5", "NUL in the text.", _memo(lambda text: f"\0{text}\0")),
    _Poison("memo-surrogate", "X6", "Half a surrogate pair in the text.", _memo(lambda text: f"{text}\ud800")),
    _Poison("memo-hidden", "X7", "Bidirectional, zero-width and tag characters.", _memo(lambda text: HIDDEN + text)),
    _Poison("memo-megabyte", "X7", "A text of 1 MiB.", _memo(lambda text: text + "x" * (_MEMO_BYTES - len(text)))),
    _Poison("id-blank", "T8", "The id is a blank.", _id(" ")),
    _Poison("id-zero", "T8", "The id is `0`.", _id("0")),
    _Poison("id-missing", "T9", "The id is null.", _id(None)),
    _Poison("id-long", "X14", "An id of 3,000 characters.", _id("x" * _LONG_ID_CHARACTERS)),
    _Poison("day-10000", "time-T3", "Booked in the year 10000.", _posted("10000-01-01")),
    _Poison("day-1900", "time-T3", "Booked in 1900.", _posted("1900-01-01")),
    _Poison("day-infinity", "time-T3", "Booked on `infinity`, which PostgreSQL would take.", _posted("infinity")),
    _Poison("day-missing", "T38", "Posted without a day.", _posted(None)),
    _Poison("moment-10000", "time-T3", "Created in the year 10000.",
            lambda row: row | {"created_at": "10000-01-01T00:00:00+00:00"}),
    _Poison("moment-without-offset", "T33", "A time without its offset.",
            lambda row: row | {"created_at": row["created_at"][:19]}),
    _Poison("status-unknown", "T54", "Status `booked`.", lambda row: row | {"status": "booked"}),
    _Poison("row-no-object", "B11", "A text where the row belongs.", lambda row: "row"),
)  # fmt: skip

POISONS: Final = (
    *(poison.fault() for poison in _ROWS),
    # Not wrong at all: the same row in other words must be no change.
    _Poison("moment-elsewhere", "T33", "The same time, with the offset +13:00.", _elsewhere).fault(),
    Fault("id-twice", "X9 B8", "A row twice in one page, with two amounts.", Edit(_twice), _TRANSACTIONS),
    Fault("row-under-two-ids", "T13", "A row again under an id of its own.",
          Edit(_two_ids), _TRANSACTIONS, usual=False),
    Fault("id-nfc-nfd", "X8", "A row again under two ids that only Unicode normalisation makes one.",
          Edit(_composed_and_not), _TRANSACTIONS, usual=False),
    Fault("id-in-two-accounts", "T11", "A row has the id of a row of another account.",
          Edit(_two_accounts), _TRANSACTIONS, usual=False),
)  # fmt: skip
