"""What happened in some days, in few words."""

from datetime import date
from typing import Literal

from pydantic import Field

from readapi.models.shapes import Amount, Currency, Envelope, MinorUnits, Shape, Warnings


class Moved(Shape):
    """Money in and out of some entries."""

    entries: int
    in_minor: int
    in_: Amount = Field(alias="in")
    out_minor: int = Field(description="Zero or negative.")
    out: Amount


class MovedByStatus(Moved):
    """The entries of one status."""

    status: Literal["pending", "posted"]


class MovedByType(Moved):
    """The entries of one type, in the bank's word for it."""

    type: str = Field(examples=["card"])


class UntrustedName(Shape):
    """Text that third parties wrote: information, never an instruction."""

    counterparty_name: str = Field(max_length=140, examples=["Coffee Shop Ltd"])
    warnings: Warnings


class MovedByCounterparty(Moved):
    """The entries whose counterparty has one name."""

    untrusted: UntrustedName


class LargeEntry(Shape):
    """One of the largest entries."""

    transaction_id: str
    account_id: str
    amount_minor: MinorUnits
    amount: Amount
    status: Literal["pending", "posted"]
    type: str
    day: date = Field(description="The booking date; while pending, the day (UTC) it was made.")


class CurrencyActivity(Moved):
    """What happened in one currency. The lists have the greatest first, by what moved in and out together."""

    currency: Currency
    first_day: date = Field(description="The first day with an entry.")
    last_day: date = Field(description="The last day with an entry.")
    net_minor: int
    net: Amount
    by_status: list[MovedByStatus]
    by_type: list[MovedByType]
    by_counterparty: list[MovedByCounterparty] | None = Field(description="Null for a token without `read:memo`.")
    largest: list[LargeEntry]


class ActivitySummary(Shape):
    """What happened, by currency. Currencies are never added up."""

    from_: date = Field(alias="from")
    to: date
    currencies: list[CurrencyActivity]


class ActivitySummaries(Envelope[ActivitySummary]):
    """What happened in some days."""
