"""Money in and out by period, and why past days changed."""

from datetime import date
from typing import Literal

from pydantic import AwareDatetime, Field

from readapi.models.shapes import Amount, Currency, Envelope, MinorUnits, Shape
from readapi.models.transactions import CurrentTransaction


class View(Shape):
    """A materialized view."""

    name: str
    refreshed_at: AwareDatetime | None
    changes_waiting_since: AwareDatetime | None = Field(
        description="Since when there is something that it does not hold."
    )


class CashFlowPeriod(Shape):
    """Posted money of one account in one currency and period. Currencies are never converted."""

    account_id: str
    currency: Currency
    period_start: date
    in_minor: int
    in_: Amount = Field(alias="in")
    out_minor: int = Field(description="Zero or negative.")
    out: Amount
    net_minor: int
    net: Amount
    entries: int


class CashFlow(Shape):
    """Money in and out by period, and the view that it was read from."""

    view: View | None = Field(description="Null with `known_at`: computed from the entries and no view.")
    periods: list[CashFlowPeriod]


Kind = Literal["new", "late", "returned", "corrected", "re-dated", "settled", "rekeyed", "removed", "absent"]


class Effect(Shape):
    """What a difference does to the posted money of the asked days."""

    currency: Currency
    effect_minor: MinorUnits
    effect: Amount


class Difference(Shape):
    """A transaction that was known otherwise at `known_to` than at `known_from`."""

    account_id: str
    kind: Kind = Field(
        description="`new`; `late`: booked on a day before known_from; `returned`: it was gone before; `corrected`: "
        "`changed` names the fields; `re-dated`: the booking date moved; `settled`: pending became posted; `rekeyed`: "
        "another id and nothing else; `removed` by the bank; `absent`: not shown any more."
    )
    day: date = Field(description="Its booking date before, or now if it is new; while pending, the day it was made.")
    transaction_id: str
    successor_id: str | None = Field(description="What one that is gone became, where that was known before.")
    effects: list[Effect] = Field(description="One a currency; zero while nothing is posted.")
    changed: list[str] = Field(description="The fields that differ.")
    before: CurrentTransaction | None
    after: CurrentTransaction | None


class KindSum(Shape):
    """The differences of one kind."""

    kind: Kind
    entries: int
    effect_minor: MinorUnits
    effect: Amount


class DiffSummary(Shape):
    """One account and currency: the posted money of the asked days as it was known at both moments, and why."""

    account_id: str
    currency: Currency
    known_from_minor: MinorUnits
    known_from: Amount
    known_to_minor: MinorUnits
    known_to: Amount
    change_minor: MinorUnits
    change: Amount
    explained_minor: int = Field(description="The sum of the differences' effects.")
    ties: bool = Field(description="Whether the differences explain the whole change.")
    kinds: list[KindSum]


class Diff(Shape):
    """Why days changed between two moments: a summary of all pages, and a page of the differences."""

    known_from: AwareDatetime
    known_to: AwareDatetime
    summary: list[DiffSummary]
    differences: list[Difference]


class CashFlows(Envelope[CashFlow]):
    """Money in and out."""


class Diffs(Envelope[Diff]):
    """What changed."""
