"""Why a balance is what it is."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from readapi.mcp.api import Api
from readapi.mcp.shapes import At, Decimal, Freshness, Minor, Page, Shape, onward
from readapi.mcp.tool import tool
from readapi.mcp.tools.arguments import ROWS, AccountId, Code, Cursor, Day, Rows
from readapi.models import Currency

# What is pending is counted in full, and so many of it are named.
_PENDING = 10


class Shown(Shape):
    """The balance that is explained, as the bank states it."""

    current_minor: Minor
    current: Decimal
    available_minor: int | None = None
    available: Decimal | None = Field(None, description="What can be spent. Absent: the bank does not say.")
    as_of: At
    synced_at: At


class Opening(Shape):
    """Where the explanation begins."""

    source: Literal["stated", "computed"] = Field(description="`computed`: counted back, so that it proves nothing.")
    opening_minor: Minor
    opening: Decimal
    as_of: At | None = None


class Explaining(Shape):
    """A transaction that changed what is booked."""

    transaction_id: str
    kind: str
    day: date
    type: str
    effect_minor: Minor
    effect: Decimal


class Pending(Shape):
    """A transaction that is not booked yet."""

    transaction_id: str
    type: str
    amount_minor: Minor
    amount: Decimal
    lapsed: bool = Field(description="Pending for so long that it will hardly settle any more.")


class Explanation(Page):
    """`opening` and the sum of the entries make `explained`; the rest to the balance is `difference`."""

    account_id: str
    currency: Currency
    balance: Shown | None = None
    opening: Opening | None = None
    entries_count: int | None = None
    entries_minor: int | None = None
    entries_amount: Decimal | None = Field(None, description="The sum of all entries, of every page.")
    explained_minor: int | None = None
    explained: Decimal | None = None
    difference_minor: int | None = None
    difference: Decimal | None = None
    ties: bool | None = Field(None, description="Absent: nothing can be proved, and `reason` says why.")
    reason: str | None = None
    newer_count: int | None = None
    newer_minor: int | None = None
    newer_amount: Decimal | None = Field(None, description="Entries that the balance does not hold yet.")
    pending_count: int | None = None
    pending_minor: int | None = None
    pending_amount: Decimal | None = None
    available_difference_minor: int | None = None
    available_difference: Decimal | None = Field(
        None, description="Available less booked and pending out: an overdraft, or a hold that the bank does not show."
    )
    entries: list[Explaining] = Field(description="Those that were learned of last come first.")
    pending: list[Pending]


@tool("Why is the balance this?")
async def explain_balance(
    api: Api,
    account_id: AccountId,
    currency: Annotated[Code | None, Field(description="Default: the account's own.")] = None,
    from_day: Annotated[Day | None, Field(description="Begin before this day; default a month ago at most.")] = None,
    limit: Annotated[Rows, Field(description="Entries to be named; all are counted.")] = ROWS,
    cursor: Cursor | None = None,
) -> Explanation:
    """Why an account's balance is what it is: where it began, each entry since with its effect, and what is pending.

    Use it when a balance surprises, or differs from another figure. `ties` says whether `opening` and all entries make
    the bank's figure; absent, nothing can be proved and `reason` says why. An opening that is `computed` was counted
    back and proves nothing.
    """
    answered = await api.get(
        "banking", "accounts", account_id, "balance", "explain",
        currency=currency, limit=limit, cursor=cursor, **{"from": from_day},
    )  # fmt: skip
    pending = answered.data["pending"][:_PENDING]
    return Explanation.model_validate(
        {**answered.data, "pending": pending, "freshness": Freshness.of(answered), "onward": onward(answered)}
    )
