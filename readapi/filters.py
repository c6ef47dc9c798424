"""What may be asked: the query parameters of each endpoint.

One that is not listed is refused, so that a typo in a filter never answers with everything.
"""

import re
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from kernel.money import AMOUNT_MINOR_LIMIT, UnknownCurrencyError, all_currencies, exponent

# Rows on a page. Five hundred transactions are about 200 kB, which is more than an agent can read at once.
PAGE_LIMIT = 500
# PostgreSQL cannot index a longer id, so the mirror holds none.
ID_LENGTH = 2700
# A cursor holds at most two ids, in base64.
CURSOR_LENGTH = 8000

NO_NUL = r"^[^\x00]*$"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


_WHOLE = re.compile(r"-?\d+", re.ASCII)


def _only_digits(value: Any) -> Any:
    # Left to itself, pydantic also reads "1_0", "+1", " 1" and "1.0".
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise PydanticCustomError("whole_number", "should be a whole number")
    return value


def _only_iso(value: Any) -> Any:
    # Left to itself, pydantic also reads numbers as seconds since 1970.
    if isinstance(value, str) and not _DATE.fullmatch(value):
        raise PydanticCustomError("date_format", "should be a date as YYYY-MM-DD")
    return value


def _only_listed(value: str) -> str:
    # An empty answer would say that there is no such money, where there is no such currency.
    try:
        exponent(value)
    except UnknownCurrencyError:
        raise PydanticCustomError("currency", "is not an ISO 4217 currency") from None
    return value


Id = Annotated[str, Field(min_length=1, max_length=ID_LENGTH, pattern=NO_NUL)]
Day = Annotated[date, BeforeValidator(_only_iso)]
CurrencyCode = Annotated[
    str,
    Field(
        pattern="^[A-Z]{3}$",
        examples=["USD"],
        json_schema_extra={"enum": [code for code, _, _ in all_currencies()]},
    ),
    AfterValidator(_only_listed),
]
# The bounds stand before the validator: after it, pydantic would keep them and OpenAPI would lose them.
AmountMinor = Annotated[int, Field(ge=0, lt=AMOUNT_MINOR_LIMIT), BeforeValidator(_only_digits)]
Limit = Annotated[int, Field(ge=1, le=PAGE_LIMIT), BeforeValidator(_only_digits)]


class Asked(BaseModel):
    """Query parameters: only these, and each at most once."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Asked):
    """No parameter."""


class ActivityQuery(Asked):
    """How much activity."""

    limit: Limit = Field(20, description="How many entries at most.")


class PageQuery(Asked):
    """A page of a list."""

    limit: Limit = Field(50, description="How many rows at most. May change from page to page.")
    cursor: str | None = Field(
        None,
        min_length=1,
        max_length=CURSOR_LENGTH,
        description="`next_cursor` of the page before, with the same filters. Rows that appear meanwhile "
        "are shown if they sort after the cursor; no row is skipped or shown twice.",
    )


class AccountsQuery(PageQuery):
    """Which accounts."""

    status: Literal["open", "closed"] | None = Field(None, description="Only open or only closed accounts.")
    currency: CurrencyCode | None = Field(None, description="Only accounts in this currency, an ISO 4217 code.")


class BalancesQuery(PageQuery):
    """Which balances."""

    currency: CurrencyCode | None = Field(None, description="Only balances in this currency, an ISO 4217 code.")


class FeedsQuery(PageQuery):
    """Which feeds."""

    account_id: Id | None = Field(None, description="Only the feeds of this account.")
    feed: Literal["accounts", "balances", "transactions"] | None = Field(None, description="Only this feed.")
    verdict: Literal["fresh", "partial", "stale", "unknown"] | None = Field(
        None, description="Only feeds with this verdict."
    )


class _Period(PageQuery):
    first: Day | None = Field(None, alias="from", description="The first day, by booking date.")
    last: Day | None = Field(None, alias="to", description="The last day, included.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first is not None and self.last is not None and self.first > self.last:
            raise PydanticCustomError("from_after_to", "from must not be after to")
        return self


class TransactionsQuery(_Period):
    """Which transactions. A pending one counts on the day (UTC) it was made."""

    status: Literal["pending", "posted"] | None = Field(None, description="Only pending or only posted entries.")
    type: Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)] | None = Field(
        None, description="The bank's own word for the kind of entry."
    )
    direction: Literal["in", "out"] | None = Field(None, description="Money in, or money out.")
    min_amount_minor: AmountMinor | None = Field(None, description="The least amount in minor units, without its sign.")
    max_amount_minor: AmountMinor | None = Field(
        None, description="The greatest amount in minor units, without its sign."
    )
    counterparty_account_id: Id | None = Field(
        None, description="Only entries with this account at the other side, where the bank names it."
    )

    @model_validator(mode="after")
    def _amounts_in_order(self) -> Self:
        least, greatest = self.min_amount_minor, self.max_amount_minor
        if least is not None and greatest is not None and least > greatest:
            raise PydanticCustomError("min_above_max", "min_amount_minor must not be above max_amount_minor")
        return self

    def filters(self) -> dict[str, str]:
        """The filters that are set, by the names that the store gives them."""
        chosen = self.model_dump(exclude_none=True, exclude={"limit", "cursor"}, mode="json")
        return {name: str(value) for name, value in chosen.items()}


class CashFlowQuery(_Period):
    """Which money, by what period."""

    account_id: Id | None = Field(None, description="Only this account.")
    currency: CurrencyCode | None = Field(None, description="Only this currency, an ISO 4217 code.")
    group: Literal["day", "week", "month"] = Field("day", description="Weeks begin on Monday.")
