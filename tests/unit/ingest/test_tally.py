"""The rules of a comparison, without a database."""

from datetime import UTC, date, datetime, timedelta

import pytest

from banks.ports import FetchedTransaction
from ingest import tally
from ingest.tally import Difference, Excuse, FieldDifference, Ledger, Slot, Tally

MADE = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
ROW = FetchedTransaction(
    "acct", "txn_1", -100, "USD", "posted", "card", "Coffee", None, None, None, None, MADE, date(2026, 3, 2), b""
)


def difference(mirror: str, day: date | None = None) -> Difference:
    """A row whose amount differs."""
    return Difference("acct", "transaction", "txn_1", day, "differs", (FieldDifference("amount", "1", mirror),))


def test_ledger_counts_each_slot() -> None:
    """By day, status and currency; a pending row by the day it was made in UTC; days that nobody asked for not."""
    ledger = Ledger(date(2026, 3, 1), date(2026, 3, 2))
    east = MADE.astimezone(tz=None)
    ledger.add([ROW, ROW._replace(transaction_id="txn_2", amount_minor=-5)])
    ledger.add([ROW._replace(status="pending", booked_on=None, created_at=east)])
    ledger.add([ROW._replace(booked_on=date(2026, 3, 3)), ROW._replace(booked_on=date(2026, 2, 28))])

    book = ledger.book()

    assert {slot: found[:2] for slot, found in book.items()} == {
        Slot(date(2026, 3, 2), "posted", "USD"): (2, -105),
        Slot(date(2026, 3, 1), "pending", "USD"): (1, -100),
    }
    assert tally.sums_of(book) == {"USD": -205}


@pytest.mark.parametrize(
    "changed",
    [
        {"transaction_id": "txn_2"},
        {"amount_minor": -101},
        {"currency": "EUR"},
        {"status": "pending"},
        {"type": "cash"},
        {"description": "Coffee "},
        {"counterparty_name": ""},
        {"counterparty_account_id": "x"},
        {"client_reference": "x"},
        {"pending_transaction_id": "x"},
        {"created_at": MADE + timedelta(microseconds=1)},
        {"booked_on": date(2026, 3, 3)},
        {"type": "cardCoffee", "description": ""},
    ],
    ids=str,
)
def test_every_field_is_in_the_digest(changed: dict[str, object]) -> None:
    """No other row has the text of this one, wherever one field ends and the next begins."""
    other = ROW._replace(**changed)  # type: ignore[arg-type]  # Fields by name.

    assert tally.text_of(other) != tally.text_of(ROW)
    assert tally.digest_of(other) != tally.digest_of(ROW)


def test_days_that_differ() -> None:
    """In number, sum or contents, or on one side only."""
    days = [date(2026, 3, number) for number in range(1, 6)]
    bank = {Slot(day, "posted", "USD"): Tally(1, 5, 7) for day in days[:4]}
    mirror = {**bank, Slot(days[0], "posted", "USD"): Tally(2, 5, 7), Slot(days[1], "posted", "USD"): Tally(1, 6, 7)}
    mirror[Slot(days[2], "posted", "USD")] = Tally(1, 5, 8)
    mirror[Slot(days[4], "pending", "USD")] = Tally(1, 5, 7)

    assert tally.days_that_differ(bank, mirror) == [days[0], days[1], days[2], days[4]]


def test_stretches_are_bounded() -> None:
    """A window never spans more than a month, however the days lie."""
    days = [date(2026, 1, 1) + timedelta(days=step) for step in (0, 30, 31, 100, 7)]

    assert [(stretch[0], len(stretch)) for stretch in tally.stretches(days)] == [
        (date(2026, 1, 1), 3), (date(2026, 2, 1), 1), (date(2026, 4, 11), 1)
    ]  # fmt: skip


def test_a_difference_is_final_when_two_looks_saw_the_same() -> None:
    """Not at the first look, and not when anything of it moved in between."""
    assert tally.settle(None, [difference("2")], lambda _: False) == ([], [difference("2")])
    assert tally.settle([difference("2")], [difference("2")], lambda _: False) == ([difference("2")], [])
    assert tally.settle([difference("2")], [difference("3")], lambda _: False) == ([], [difference("3")])
    assert tally.settle([], [difference("2")], lambda _: False) == ([], []), "it happened since the first look"
    assert tally.settle([difference("2")], [], lambda _: False) == ([], [])
    assert tally.settle(None, [difference("2")], lambda _: True) == ([difference("2")], [])


@pytest.mark.parametrize(
    ("bank", "mirror", "found", "is_refused", "note"),
    [
        (ROW, None, Excuse("t", True, False, False), False, "quarantined"),
        (None, ROW, Excuse("t", False, False, False), True, "quarantined"),
        (ROW._replace(status="pending"), None, Excuse("t", False, True, False), False, "settled-hold"),
        (ROW, None, Excuse("t", False, True, False), False, None),
        (None, ROW, Excuse("t", False, False, True), False, "awaits-second-look"),
        (ROW, None, Excuse("t", False, False, True), False, None),
        (None, ROW, Excuse("t", False, True, False), False, None),
    ],
)
def test_excuses(
    bank: FetchedTransaction | None,
    mirror: FetchedTransaction | None,
    found: Excuse,
    is_refused: bool,
    note: str | None,
) -> None:
    """Only the side that a rule of the mirror explains."""
    assert tally.excuse(bank, mirror, found, is_refused) == note
