"""Why a balance is what it is."""

from datetime import date
from typing import Literal

from pydantic import AwareDatetime, Field

from readapi.models.shapes import Amount, Currency, Envelope, MinorUnits, Shape


class ShownBalance(Shape):
    """The balance that is explained, as the bank states it."""

    current_minor: int = Field(description="What is booked.")
    current: Amount
    available_minor: int | None = Field(description="What the bank says can be spent; null where it does not say.")
    available: Amount | None
    as_of: AwareDatetime
    synced_at: AwareDatetime


class Opening(Shape):
    """Where the explanation begins."""

    source: Literal["stated", "computed"] = Field(
        description="`stated` by the bank; `computed`: counted back from the shown balance, so that it proves nothing."
    )
    opening_minor: int
    opening: Amount
    from_: date | None = Field(
        alias="from", description="The first day whose entries were counted back; if `computed`."
    )
    as_of: AwareDatetime | None = Field(description="The bank's time of it, if `stated`.")
    known_from: AwareDatetime | None = Field(description="When we first saw it, if `stated`.")
    last_seen_at: AwareDatetime | None = Field(description="When the bank last stated it unchanged, if `stated`.")


class ExplainedEntry(Shape):
    """A transaction that changed what is booked."""

    transaction_id: str
    kind: Literal["booked", "corrected", "removed", "absent", "rekeyed", "settled", "changed"] = Field(
        description="`booked`: it came or was settled; `corrected`: from one amount to another; else why it is gone."
    )
    day: date = Field(description="Its booking date.")
    type: str
    effect_minor: MinorUnits = Field(description="What it does to the booked balance.")
    effect: Amount
    known_at: AwareDatetime = Field(description="When we learned of it.")


class PendingEntry(Shape):
    """A transaction that is not booked yet."""

    transaction_id: str
    type: str
    created_at: AwareDatetime
    amount_minor: MinorUnits
    amount: Amount
    lapsed: bool = Field(description="Pending for so long that it will hardly settle any more.")


class BalanceExplanation(Shape):
    """`opening` and `entries` make `explained`; the rest to the booked balance is `difference`.

    Where the bank states no balance in the currency, everything but what is pending is null or empty.
    """

    account_id: str
    currency: Currency
    balance: ShownBalance | None
    opening: Opening | None
    entries: list[ExplainedEntry] = Field(description="A page, those first that we learned of last.")
    entries_count: int | None
    entries_minor: int | None = Field(description="The sum of the effects of all pages.")
    entries_amount: Amount | None
    explained_minor: int | None
    explained: Amount | None
    difference_minor: int | None = Field(description="What is not explained.")
    difference: Amount | None
    ties: bool | None = Field(
        description="Null where nothing can be proved: the opening is computed, or balance and entries were read at "
        "different moments. False only where the bank's own statements differ."
    )
    reason: str | None
    newer: list[str] = Field(description="Transactions that the balance does not hold yet; the newest twenty.")
    newer_count: int | None
    newer_minor: int | None
    newer_amount: Amount | None
    pending: list[PendingEntry] = Field(description="The newest hundred.")
    pending_count: int | None
    pending_minor: int | None
    pending_amount: Amount | None
    pending_out_minor: int | None = Field(description="Pending money out, which banks take off what is available.")
    pending_out: Amount | None
    available_explained_minor: int | None = Field(description="The booked balance and what is pending out.")
    available_explained: Amount | None
    available_difference_minor: int | None = Field(
        description="What the bank says is available, less that: an overdraft, a hold that is not shown, or money in."
    )
    available_difference: Amount | None


class BalanceExplanations(Envelope[BalanceExplanation]):
    """Why a balance is what it is."""
