"""What may be asked: the query parameters of each endpoint.

One that is not listed is refused, so that a typo in a filter never answers with everything.
"""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
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


# RFC 3339. Without an offset nobody could say which moment is meant.
_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(\.\d+)?(?:([Zz])|([+-](?:[01]\d|2[0-3]):[0-5]\d))", re.ASCII
)
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


def read_moment(value: Any) -> Any:
    """A moment from text as RFC 3339 has it, to the microsecond. Raises PydanticCustomError, which is a ValueError."""
    if not isinstance(value, str):
        return value
    written = _MOMENT.fullmatch(value)
    if written is None:
        # In a query, a plus sign that is not escaped means a space.
        hint = "; write + as %2B" if re.search(r" \d{2}:\d{2}$", value) else ""
        raise PydanticCustomError(
            "moment_format",
            "should be a moment with its offset, as 2026-01-31T23:59:59Z{hint}",
            {"hint": hint},
        )
    day, clock, fraction, _, offset = written.groups()
    microseconds = fraction[:7].ljust(7, "0") if fraction else ""
    try:
        # In UTC from here on: PostgreSQL takes no offset of sixteen hours or more.
        return datetime.fromisoformat(f"{day}T{clock}{microseconds}{offset or '+00:00'}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("moment_range", "is not a day and a time that there are") from None


def _only_listed(value: str) -> str:
    # An empty answer would say that there is no such money, where there is no such currency.
    try:
        exponent(value)
    except UnknownCurrencyError:
        raise PydanticCustomError("currency", "is not an ISO 4217 currency") from None
    return value


Id = Annotated[str, Field(min_length=1, max_length=ID_LENGTH, pattern=NO_NUL)]
Day = Annotated[date, BeforeValidator(_only_iso)]
Moment = Annotated[AwareDatetime, BeforeValidator(read_moment)]
KnownAt = Annotated[
    Moment | None,
    Field(
        description="Answer with what was known at this moment. Such an answer is the same bytes for ever; a moment at "
        "which something may still be stored is refused for now.",
        examples=["2026-01-31T23:59:59Z"],
    ),
]
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


BALANCES_AS_OF = "Answer with the newest balance that the bank stated for a time up to this moment."


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


class BalancesOfAccountQuery(PageQuery):
    """Which balances of an account."""

    as_of: Moment | None = Field(None, description=BALANCES_AS_OF)
    known_at: KnownAt = None


class AccountsQuery(PageQuery):
    """Which accounts."""

    status: Literal["open", "closed"] | None = Field(None, description="Only open or only closed accounts.")
    currency: CurrencyCode | None = Field(None, description="Only accounts in this currency, an ISO 4217 code.")


class BalancesQuery(PageQuery):
    """Which balances."""

    currency: CurrencyCode | None = Field(None, description="Only balances in this currency, an ISO 4217 code.")
    as_of: Moment | None = Field(None, description=BALANCES_AS_OF)
    known_at: KnownAt = None


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
    as_of: Moment | None = Field(
        None,
        description="Only entries that the bank had made by this moment and, where they are posted, booked by its day "
        "(UTC); as they are known now, or at `known_at`.",
    )
    known_at: KnownAt = None

    @model_validator(mode="after")
    def _amounts_in_order(self) -> Self:
        least, greatest = self.min_amount_minor, self.max_amount_minor
        if least is not None and greatest is not None and least > greatest:
            raise PydanticCustomError("min_above_max", "min_amount_minor must not be above max_amount_minor")
        return self

    def filters(self) -> dict[str, str]:
        """The filters that are set, by the names that the store gives them."""
        chosen = self.model_dump(exclude_none=True, exclude={"limit", "cursor", "known_at"}, mode="json")
        return {name: str(value) for name, value in chosen.items()}


class CashFlowQuery(_Period):
    """Which money, by what period."""

    account_id: Id | None = Field(None, description="Only this account.")
    currency: CurrencyCode | None = Field(None, description="Only this currency, an ISO 4217 code.")
    group: Literal["day", "week", "month"] = Field("day", description="Weeks begin on Monday.")
    known_at: KnownAt = None


class DiffQuery(_Period):
    """Between which moments, and of which booking dates."""

    known_from: Moment = Field(description="The earlier moment.", examples=["2026-02-01T00:00:00Z"])
    known_to: Moment = Field(description="The later moment.", examples=["2026-02-15T00:00:00Z"])
    account_id: Id | None = Field(None, description="Only this account.")

    @model_validator(mode="after")
    def _moments_in_order(self) -> Self:
        if self.known_from > self.known_to:
            raise PydanticCustomError("known_from_after_known_to", "known_from must not be after known_to")
        return self
