"""What can happen to the books: an entry is booked, amended or removed. Plain values, no behaviour."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

Outcome = Literal["replaced", "posted", "released"]


@dataclass(frozen=True)
class Account:
    """An account as life and payments see it, with what is available even where the bank does not tell."""

    account_id: str
    ordinal: int
    name: str
    type: Literal["checking", "savings"]
    currency: str
    status: Literal["open", "closed"]
    available_cents: int


@dataclass(frozen=True)
class Entry:
    """A transaction before it has an id. Negative takes money; `booked_on` None means pending."""

    account_id: str
    amount_cents: int
    type: str
    description: str
    created_at: datetime
    booked_on: date | None
    counterparty_name: str | None = None
    counterparty_account_id: str | None = None
    pending_transaction_id: str | None = None
    client_reference: str | None = None


@dataclass(frozen=True)
class Booked:
    """A transaction that is on the books."""

    transaction_id: str
    entry: Entry


@dataclass(frozen=True)
class Hold:
    """A pending transaction whose time has come."""

    booked: Booked
    due_at: datetime
    outcome: Outcome


@dataclass(frozen=True)
class Book:
    """Write a new transaction; when it is pending, with what will become of it."""

    entry: Entry
    due_at: datetime | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Amend:
    """Change a transaction in place. None leaves a field as it is."""

    transaction_id: str
    account_id: str
    amount_cents: int | None = None
    description: str | None = None
    booked_on: date | None = None


@dataclass(frozen=True)
class Remove:
    """Take a pending transaction off the books, leaving a tombstone."""

    transaction_id: str
    account_id: str


Change = Book | Amend | Remove


def account_of(change: Change) -> str:
    """The account whose feed and balance a change moves."""
    return change.entry.account_id if isinstance(change, Book) else change.account_id
