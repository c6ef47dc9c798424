"""What changed since."""

from typing import Literal

from pydantic import AwareDatetime, Field

from readapi.models.shapes import Amount, Currency, Freshness, MinorUnits, Shape
from readapi.models.transactions import Transaction


class Removed(Shape):
    """A transaction that the mirror holds no more."""

    account_id: str
    transaction_id: str
    successor_id: str | None = Field(description="The transaction that it went on as, which is among the added ones.")
    ended_by: Literal["changed", "settled", "removed", "absent", "rekeyed"]


class ChangedBalance(Shape):
    """A balance as it is at the end of the window."""

    account_id: str
    currency: Currency
    current_minor: MinorUnits
    current: Amount
    available_minor: int | None
    available: Amount | None
    as_of: AwareDatetime


class ChangeSet(Shape):
    """What to do to a copy: put the added, the modified and the balances by their ids; take out the removed."""

    added: list[Transaction]
    modified: list[Transaction]
    removed: list[Removed]
    balances: list[ChangedBalance]


class Changes(Shape):
    """A page of changes, and where the next one begins."""

    data: ChangeSet
    freshness: Freshness
    next_cursor: str = Field(
        description="Pass it as `cursor`: at once while `has_more`, later otherwise. It never expires."
    )
    has_more: bool = Field(description="Whether the next page is there already.")
