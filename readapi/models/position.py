"""What there is to spend, and whether an amount can be paid from it."""

from typing import Literal

from pydantic import AwareDatetime, Field

from readapi.models.shapes import Amount, Currency, Envelope, MinorUnits, Shape, VerdictName


class Position(Shape):
    """What there is, and what of it can be spent. Null is unknown, and never zero."""

    booked_minor: int | None = Field(description="The booked balance, as the bank states it.")
    booked: Amount | None
    available_minor: int | None = Field(description="What the bank says can be spent; it may include an overdraft.")
    available: Amount | None
    pending_in_minor: int = Field(description="Pending money in.")
    pending_in: Amount
    pending_out_minor: int = Field(description="Pending money out: zero or negative. Banks take it off `available`.")
    pending_out: Amount
    committed_minor: int = Field(
        description="Transfers of ours that the bank does not show yet, also those that wait for approval: zero or "
        "positive."
    )
    committed: Amount
    newer_out_minor: int = Field(
        description="Money out that the bank shows and dates after the balance, so that the balance cannot hold it: "
        "zero or negative."
    )
    newer_out: Amount
    spendable_minor: int | None = Field(
        description="`available`, less `committed`, less `newer_out`. It may be too low for a moment, and is not too "
        "high: a bank may have taken a transfer off already that it does not show yet."
    )
    spendable: Amount | None


class CurrencyPosition(Position):
    """The sums of one currency, over the balances that are known."""

    currency: Currency
    accounts: int
    accounts_unknown: int = Field(description="Accounts whose balance the bank has not stated: no sum holds them.")
    accounts_available_unknown: int = Field(
        description="Accounts of which the bank does not say what is available, those included: `available` and "
        "`spendable` do not hold them."
    )


class AccountPosition(Position):
    """One account in one currency, with how old its own figures are."""

    account_id: str
    name: str
    status: Literal["open", "closed"]
    currency: Currency
    as_of: AwareDatetime | None = Field(description="The bank's time of the balance.")
    synced_at: AwareDatetime | None = Field(description="When we last confirmed the balance.")
    verdict: VerdictName = Field(description="The worse one of its balance and its transactions.")


class CashPosition(Shape):
    """Sums by currency over all accounts that were asked for, and a page of these accounts."""

    currencies: list[CurrencyPosition]
    accounts: list[AccountPosition]


class Counted(Shape):
    """What was counted: the newest twenty by their ids, and how many there are."""

    ids: list[str]
    count: int


class Evidence(Shape):
    """What an answer rests on."""

    balance_as_of: AwareDatetime | None = Field(description="The bank's time of the balance.")
    balance_synced_at: AwareDatetime | None = Field(description="When we last confirmed the balance.")
    transfers: Counted = Field(description="Our transfers that `committed` is the sum of.")
    newer: Counted = Field(description="The transactions that `newer_out` is the sum of.")
    pending: Counted = Field(description="The pending transactions, of which the bank takes those out off `available`.")
    pending_in_minor: int
    pending_in: Amount
    pending_out_minor: int = Field(description="Zero or negative.")
    pending_out: Amount


class CanPay(Shape):
    """Whether an amount can be paid now, why, and what that rests on."""

    account_id: str
    currency: Currency
    amount_minor: MinorUnits
    amount: Amount
    answer: Literal["yes", "no", "unknown"] = Field(
        description="`unknown`: the bank does not say what is available, what is known is too old or incomplete to "
        "pay from, or it would be a currency exchange. The first reason says which."
    )
    would_be: Literal["yes", "no"] | None = Field(
        description="What the arithmetic says of the figures as they are. It is no answer where `answer` is `unknown`."
    )
    certain: bool = Field(description="False where the answer is `unknown`.")
    available_minor: int | None = Field(description="What the bank says can be spent; it may include an overdraft.")
    available: Amount | None
    committed_minor: int = Field(description="Transfers of ours that the bank does not show yet: zero or positive.")
    committed: Amount
    newer_out_minor: int = Field(description="Money out that the bank dates after the balance: zero or negative.")
    newer_out: Amount
    spendable_minor: int | None = Field(description="`available`, less `committed`, less `newer_out`.")
    spendable: Amount | None
    after_minor: int | None = Field(description="What would be left; negative is what is missing.")
    after: Amount | None
    evidence: Evidence
    reasons: list[str] = Field(description="In plain words; what makes the answer unknown comes first.")
    would_change: list[str] = Field(description="What would make the answer another one.")


class CashPositions(Envelope[CashPosition]):
    """What there is to spend."""


class CanPayAnswer(Envelope[CanPay]):
    """Whether an amount can be paid."""
