"""Standing orders: what happens on known days of the month. Pure, and shared by history and life."""

import calendar
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from sandbox.entries import Account, Entry
from sandbox.words import CUSTOMERS, EMPLOYEES, LANDLORD, SUBSCRIPTIONS, TAX_OFFICE, Subscription, minor

OPERATING: Final = "acct_123"
PAYROLL: Final = "acct_456"

# Twice a month, by employee: the same every time, so that it can be recognised as a salary.
_SALARIES_CENTS: Final = tuple(180_000 + 17_500 * place for place in range(len(EMPLOYEES)))
_RENT_CENTS: Final = 650_000
_TAX_CENTS: Final = 1_450_000
_FEE_CENTS: Final = 1_200
_RECEIPT_DAYS: Final = (5, 12, 19, 26)


def entries_due(seed: int, accounts: Sequence[Account], after: datetime, until: datetime) -> list[Entry]:
    """Every standing order with `after < created_at <= until`, in time order, posted on its day."""
    days = (after.date() + timedelta(days=n) for n in range((until.date() - after.date()).days + 1))
    entries = (entry for day in days for entry in _entries_of_day(seed, accounts, day))
    return sorted((e for e in entries if after < e.created_at <= until), key=lambda e: e.created_at)


def draw(low: int, high: int, *parts: object) -> int:
    """A number in low..high that depends on the parts only: the same on every machine, for ever."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return low + int.from_bytes(digest) % (high - low + 1)


def _entries_of_day(seed: int, accounts: Sequence[Account], day: date) -> Iterator[Entry]:
    for account in accounts:
        if account.status != "open":
            continue
        if account.account_id == OPERATING:
            yield from _operating(seed, account, day)
        if account.account_id == PAYROLL:
            yield from _salaries(account, day)
        if account.type == "checking":
            yield from _subscriptions(account, day)
        if day == _month_end(day):
            yield from _month_end_entries(seed, account, day)
    # Payroll runs on the 15th and on the last day, and is funded an hour before from the operating account.
    if _is_payday(day) and {OPERATING, PAYROLL} <= {a.account_id for a in accounts if a.status == "open"}:
        yield from own_transfer(
            OPERATING, "Operating", PAYROLL, "Payroll", sum(_SALARIES_CENTS), _at(day, 5), "Payroll funding"
        )


def own_transfer(
    source_id: str,
    source_name: str,
    destination_id: str,
    destination_name: str,
    amount_cents: int,
    at: datetime,
    description: str,
    client_reference: str | None = None,
) -> tuple[Entry, Entry]:
    """Both legs of a transfer within this bank: source first, posted at once, summing to zero."""
    source = Entry(
        source_id, -amount_cents, "transfer", f"{description} to {destination_name}", at, at.date(),
        destination_name, destination_id, client_reference=client_reference,
    )  # fmt: skip
    destination = Entry(
        destination_id, amount_cents, "transfer", f"{description} from {source_name}", at, at.date(),
        source_name, source_id,
    )  # fmt: skip
    return source, destination


def _operating(seed: int, account: Account, day: date) -> Iterator[Entry]:
    if day.day == 1:
        text = f"RENT {day:%b %Y} {LANDLORD}".upper()
        yield _posted(account, -_RENT_CENTS, "ach", text, _at(day, 7), LANDLORD)
    if day.day in _RECEIPT_DAYS:
        customer = CUSTOMERS[draw(0, len(CUSTOMERS) - 1, seed, day, "customer")]
        amount_cents = draw(1_700_000, 2_600_000, seed, day, "receipt")
        text = f"WIRE IN {customer} INV-{draw(1000, 9999, seed, day, 'invoice')}"
        yield _posted(account, amount_cents, "wire", text, _at(day, 10), customer)
    if day.day == 20 and day.month % 3 == 1:
        text = f"REVENUE SERVICE Q{(day.month - 2) % 12 // 3 + 1} EST TAX"
        yield _posted(account, -_TAX_CENTS, "tax", text, _at(day, 9), TAX_OFFICE)


def _salaries(account: Account, day: date) -> Iterator[Entry]:
    if not _is_payday(day):
        return
    for place, (name, amount_cents) in enumerate(zip(EMPLOYEES, _SALARIES_CENTS, strict=True)):
        at = _at(day, 6) + timedelta(seconds=place)
        yield _posted(account, -amount_cents, "payroll", f"PAYROLL {day:%Y-%m-%d} {name}", at, name)


def _subscriptions(account: Account, day: date) -> Iterator[Entry]:
    for subscription in _subscriptions_of(account):
        if day.day == subscription.day:
            amount_cents = -minor(subscription.amount_cents, account.currency)
            at = _at(day, 4) + timedelta(seconds=account.ordinal % 3600)
            yield _posted(account, amount_cents, "card", subscription.descriptor, at, subscription.name)


def _subscriptions_of(account: Account) -> Iterable[Subscription]:
    match account.account_id:
        case "acct_123":
            return SUBSCRIPTIONS
        case "acct_456":
            return ()
        case _:
            count = len(SUBSCRIPTIONS)
            return (SUBSCRIPTIONS[account.ordinal % count], SUBSCRIPTIONS[(account.ordinal + 3) % count])


def _month_end_entries(seed: int, account: Account, day: date) -> Iterator[Entry]:
    at = _at(day, 23) + timedelta(seconds=account.ordinal % 3600)
    match account.type:
        case "checking":
            amount_cents = -minor(_FEE_CENTS, account.currency)
            yield _posted(account, amount_cents, "fee", f"ACCOUNT FEE {day:%b %Y}".upper(), at, None)
        case "savings":
            amount_cents = minor(draw(3_000, 9_000, seed, day, account.account_id), account.currency)
            yield _posted(account, amount_cents, "interest", f"INTEREST {day:%b %Y}".upper(), at, None)


def _posted(account: Account, amount_cents: int, kind: str, text: str, at: datetime, name: str | None) -> Entry:
    return Entry(account.account_id, amount_cents, kind, text, at, at.date(), name)


def _is_payday(day: date) -> bool:
    return day.day == 15 or day == _month_end(day)


def _month_end(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def _at(day: date, hour: int) -> datetime:
    return datetime.combine(day, time(hour), UTC)
