"""What may be asked: the query parameters of each endpoint.

One that is not listed is refused, so that a typo in a filter never answers with everything.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from kernel.money import AMOUNT_LENGTH, AMOUNT_PATTERN, Money, UnrepresentableAmountError
from readapi.transactions import FILTERS, Sort
from readapi.values import (
    CURSOR_LENGTH,
    FIELDS_LENGTH,
    NO_NUL,
    AmountMinor,
    CurrencyCode,
    Day,
    Id,
    KnownAt,
    Limit,
    MaxAge,
    Moment,
    SearchText,
    Truth,
    only_digits,
)

MEMO = "Third parties write that text: with a token, this needs `read:memo`."
BALANCES_AS_OF = "Answer with the newest balance that the bank stated for a time up to this moment."


class Asked(BaseModel):
    """Query parameters: only these, and each at most once."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Asked):
    """No parameter."""


class Chosen(Asked):
    """How much of the answer is wanted."""

    fields: str | None = Field(
        None,
        min_length=1,
        max_length=FIELDS_LENGTH,
        description="Only these members of `data` (in a list: of its rows), separated by commas; those of members by a "
        "dot, as in `amount,untrusted.description`. One that there is not is refused, with a list of those there are.",
    )


class Aged(Chosen):
    """How old the answer may be."""

    max_age: MaxAge = None


class ActivityQuery(Aged):
    """How much activity."""

    limit: Limit = Field(20, description="How many entries at most.")


class PageQuery(Chosen):
    """A page of a list."""

    limit: Limit = Field(50, description="How many rows at most. May change from page to page.")
    cursor: str | None = Field(
        None,
        min_length=1,
        max_length=CURSOR_LENGTH,
        description="`next_cursor` of the page before, with the same filters. Rows that appear meanwhile "
        "are shown if they sort after the cursor; no row is skipped or shown twice.",
    )


class BalancesOfAccountQuery(PageQuery, Aged):
    """Which balances of an account."""

    as_of: Moment | None = Field(None, description=BALANCES_AS_OF)
    known_at: KnownAt = None


class AccountsQuery(PageQuery, Aged):
    """Which accounts."""

    status: Literal["open", "closed"] | None = Field(None, description="Only open or only closed accounts.")
    currency: CurrencyCode | None = Field(None, description="Only accounts in this currency, an ISO 4217 code.")


class BalancesQuery(PageQuery, Aged):
    """Which balances."""

    currency: CurrencyCode | None = Field(None, description="Only balances in this currency, an ISO 4217 code.")
    as_of: Moment | None = Field(None, description=BALANCES_AS_OF)
    known_at: KnownAt = None


class FeedsQuery(PageQuery, Aged):
    """Which feeds."""

    account_id: Id | None = Field(None, description="Only the feeds of this account.")
    feed: Literal["accounts", "balances", "transactions"] | None = Field(None, description="Only this feed.")
    verdict: Literal["fresh", "partial", "stale", "unknown"] | None = Field(
        None, description="Only feeds with this verdict."
    )


class _Days(Chosen):
    first: Day | None = Field(None, alias="from", description="The first day, by booking date.")
    last: Day | None = Field(None, alias="to", description="The last day, included.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first is not None and self.last is not None and self.first > self.last:
            raise PydanticCustomError("from_after_to", "from must not be after to")
        return self


class TransactionsQuery(PageQuery, _Days, Aged):
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
    counterparty: SearchText | None = Field(
        None, description="Only entries whose counterparty's name, as it is shown, contains this in any case. " + MEMO
    )
    text: SearchText | None = Field(
        None,
        description="Only entries whose description or counterparty's name, as they are shown, contains this in any "
        "case. " + MEMO,
    )
    lapsed: Truth | None = Field(
        None,
        description="Only entries that are pending for so long that they will hardly settle any more, or only the "
        "others. It is told of now, so not with `known_at`.",
    )
    sort: Sort = Field(
        "-created_at",
        description="The order; `-` for the greatest first. A pending entry is not booked, and stands with `booked_on` "
        "on the day (UTC) it was made. Amounts are sorted with their sign. Ties go by the ids.",
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

    @model_validator(mode="after")
    def _lapsed_now(self) -> Self:
        if self.lapsed is not None and self.known_at is not None:
            raise PydanticCustomError("lapsed_then", "lapsed is told of now, and not with known_at")
        return self

    def filters(self) -> dict[str, str]:
        """The filters that are set, by the names that readapi.transactions gives them."""
        chosen = self.model_dump(exclude_none=True, include=set(FILTERS) - {"lapsed"}, mode="json")
        named = {name: str(value) for name, value in chosen.items()}
        if self.status is not None:
            named[self.status] = self.status
        if self.lapsed is not None:
            named["lapsed" if self.lapsed else "unlapsed"] = ""
        return named


class AllTransactionsQuery(TransactionsQuery):
    """Which transactions of which accounts."""

    account_id: Id | None = Field(None, description="Only this account.")
    currency: CurrencyCode | None = Field(None, description="Only this currency, an ISO 4217 code.")


class CashFlowQuery(PageQuery, _Days, Aged):
    """Which money, by what period."""

    account_id: Id | None = Field(None, description="Only this account.")
    currency: CurrencyCode | None = Field(None, description="Only this currency, an ISO 4217 code.")
    group: Literal["day", "week", "month"] = Field("day", description="Weeks begin on Monday.")
    known_at: KnownAt = None


class ExplainQuery(PageQuery, Aged):
    """Since when, and in which currency."""

    first: Day | None = Field(
        None,
        alias="from",
        description="Begin with the last balance that the bank stated for a time before this day (UTC). Without it: "
        "with the one before the last twenty booked entries, and at most a month ago.",
    )
    currency: CurrencyCode | None = Field(
        None, description="The balance in this currency, an ISO 4217 code; the account's own unless it is given."
    )


class ActivitySummaryQuery(_Days, Aged):
    """Which days, and how much of them. A pending entry counts on the day (UTC) it was made."""

    currency: CurrencyCode | None = Field(None, description="Only this currency, an ISO 4217 code.")
    top: Annotated[int, Field(ge=1, le=20), BeforeValidator(only_digits)] = Field(
        5, description="How many types, counterparties and entries are listed at most."
    )


class AllActivitySummaryQuery(ActivitySummaryQuery):
    """Which accounts, which days, and how much of them."""

    account_id: Id | None = Field(None, description="Only this account.")


class CashPositionQuery(PageQuery, Aged):
    """Which accounts, in which currency."""

    currency: CurrencyCode | None = Field(None, description="Only this currency, an ISO 4217 code.")
    status: Literal["open", "closed", "any"] = Field(
        "open", description="Only open accounts, only closed ones, or any."
    )


class CanPayQuery(Aged):
    """Which amount from which account."""

    account_id: Id = Field(description="The account to pay from.", examples=["acct_123"])
    currency: CurrencyCode = Field(description="The currency of the amount, an ISO 4217 code.")
    amount_minor: AmountMinor | None = Field(
        None, description="The amount in minor units. Either this or `amount`.", examples=[1200000]
    )
    amount: Annotated[str, Field(min_length=1, max_length=AMOUNT_LENGTH, pattern=AMOUNT_PATTERN)] | None = Field(
        None,
        description="The amount as a decimal number in major units. Either this or `amount_minor`.",
        examples=["12000.00"],
        # Also where it is not there: one of both has to be.
        validate_default=True,
    )

    @field_validator("amount_minor")
    @classmethod
    def _above_zero(cls, amount_minor: int | None) -> int | None:
        if amount_minor == 0:
            raise PydanticCustomError("no_amount", "must be above zero")
        return amount_minor

    @field_validator("amount")
    @classmethod
    def _one_amount(cls, amount: str | None, info: ValidationInfo) -> str | None:
        # What is not here was refused already, and a second complaint would be about that too.
        if not {"currency", "amount_minor"} <= info.data.keys():
            return amount
        if (info.data["amount_minor"] is None) == (amount is None):
            raise PydanticCustomError("one_amount", "give either amount or amount_minor")
        if amount is not None:
            try:
                money = Money.parse(amount, info.data["currency"])
            except UnrepresentableAmountError as error:
                raise PydanticCustomError("amount", "{reason}", {"reason": str(error)}) from None
            cls._above_zero(money.amount_minor)
        return amount

    def money(self) -> Money:
        """The amount, in its currency."""
        if self.amount_minor is not None:
            return Money(self.amount_minor, self.currency)
        return Money.parse(self.amount or "", self.currency)


class DiffQuery(PageQuery, _Days):
    """Between which moments, and of which booking dates."""

    known_from: Moment = Field(description="The earlier moment.", examples=["2026-02-01T00:00:00Z"])
    known_to: Moment = Field(description="The later moment.", examples=["2026-02-15T00:00:00Z"])
    account_id: Id | None = Field(None, description="Only this account.")

    @model_validator(mode="after")
    def _moments_in_order(self) -> Self:
        if self.known_from > self.known_to:
            raise PydanticCustomError("known_from_after_known_to", "known_from must not be after known_to")
        return self


class ChangesQuery(Asked):
    """Whose changes, since when."""

    account_id: Id | None = Field(
        None, description="Only this account's. The cursor is good for the same account only."
    )
    cursor: str | None = Field(
        None,
        min_length=1,
        max_length=CURSOR_LENGTH,
        description="`next_cursor` of the page that was applied last, however long ago. Without it, all that there is.",
    )
    first: Literal["now"] | Moment | None = Field(
        None,
        alias="from",
        description="Without a cursor: only what changed since this moment, or `now`, and nothing of before.",
    )
    limit: Limit = Field(100, description="How many changes at most on a page, or in one event.")
