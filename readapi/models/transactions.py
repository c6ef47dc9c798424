"""Transactions, their versions, and what happened lately."""

from datetime import date
from typing import Literal

from pydantic import AwareDatetime, Field

from readapi.models.shapes import Amount, Currency, Envelope, MinorUnits, Shape, Untrusted


class Activity(Shape):
    """A transaction of the bank, or a transfer of ours that the bank does not show yet."""

    id: str = Field(description="The bank's transaction id, or our transfer id.")
    kind: Literal["transaction", "transfer"]
    action: str = Field(description="The bank's word for the entry; `transfer` for a transfer.", examples=["card"])
    amount_cents: MinorUnits
    amount_minor: MinorUnits
    amount: Amount
    currency: Currency
    status: Literal["pending", "posted", "pending_approval", "processing", "completed"]
    outcome_certain: bool = Field(description="False while nobody can say whether the money moved.")
    created_at: AwareDatetime
    booked_on: date | None
    untrusted: Untrusted


class Transaction(Shape):
    """A transaction that the bank shows now."""

    transaction_id: str
    account_id: str
    amount_minor: MinorUnits
    amount: Amount
    currency: Currency
    status: Literal["pending", "posted"]
    type: str = Field(examples=["card"])
    created_at: AwareDatetime
    booked_on: date | None = Field(description="The booking date in the bank's own zone; null while pending.")
    counterparty_account_id: str | None
    pending_transaction_id: str | None = Field(description="The id that it had while it was pending.")
    untrusted: Untrusted


class CurrentTransaction(Transaction):
    """A transaction, and since when we have believed this version."""

    known_from: AwareDatetime


class Revision(Shape):
    """What we believed of a transaction from `known_from` until `known_to`."""

    amount_minor: MinorUnits
    amount: Amount
    currency: Currency
    status: Literal["pending", "posted"]
    type: str
    created_at: AwareDatetime
    booked_on: date | None
    known_from: AwareDatetime
    known_to: AwareDatetime
    ended_by: Literal["changed", "settled", "removed", "absent", "rekeyed"]
    successor_id: str | None = Field(
        description="The posted transaction that a settled pending one became, or the new id of a re-keyed one."
    )
    untrusted: Untrusted


class TransactionHistory(Shape):
    """A transaction with the versions before, newest first; `current` is null when the bank removed it."""

    current: CurrentTransaction | None
    revisions: list[Revision]


class Transactions(Envelope[list[Transaction]]):
    """Transactions, newest first."""


class OneTransaction(Envelope[TransactionHistory]):
    """A transaction."""
