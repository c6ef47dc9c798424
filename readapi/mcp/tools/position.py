"""What there is to spend."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from kernel.money import AMOUNT_LENGTH, AMOUNT_PATTERN
from readapi.mcp.api import Api
from readapi.mcp.shapes import At, Decimal, Freshness, Minor, Result, Shape
from readapi.mcp.tool import tool
from readapi.mcp.tools.arguments import AccountId, Code, MaxAge
from readapi.models import Currency


def _exact(amount: Any) -> Any:
    # A whole number is exact as it is. One with decimals was rounded when it was read, to whatever is nearest.
    if isinstance(amount, float):
        raise PydanticCustomError("float", 'should be a string, as "12000.00": a JSON number may be rounded')
    return str(amount) if isinstance(amount, int) and not isinstance(amount, bool) else amount


Amount = Annotated[
    str,
    Field(max_length=AMOUNT_LENGTH, pattern=AMOUNT_PATTERN, description='Major units, as a string: "12000.00".'),
    BeforeValidator(_exact),
]


class Sums(Shape):
    """The money in one currency, over the accounts whose figures are known. Absent: unknown, which is not zero."""

    currency: Currency
    accounts: int
    accounts_unknown: int = Field(description="Accounts without a stated balance, in no sum here.")
    accounts_available_unknown: int = Field(description="Accounts that `available` and `spendable` leave out.")
    booked_minor: int | None = None
    booked: Decimal | None = None
    available_minor: int | None = None
    available: Decimal | None = Field(None, description="What the bank says can be spent.")
    pending_in_minor: Minor
    pending_in: Decimal
    pending_out_minor: Minor
    pending_out: Decimal
    committed_minor: int
    committed: Decimal = Field(description="Transfers of ours that the bank does not show yet; positive.")
    newer_out_minor: Minor
    newer_out: Decimal = Field(description="Money out that the bank dates after its balance.")
    spendable_minor: int | None = None
    spendable: Decimal | None = Field(None, description="`available` less `committed` and `newer_out`.")


class CashPosition(Result):
    """The money of all open accounts, by currency."""

    currencies: list[Sums]


class Counted(Shape):
    """What was counted: the newest by their ids, and how many there are."""

    ids: list[str]
    count: int


# What was not there needs no words.
_Found = Annotated[Counted | None, BeforeValidator(lambda counted: counted if counted["count"] else None)]


class Evidence(Shape):
    """What the answer rests on."""

    balance_as_of: At | None = Field(None, description="The bank's time of the balance.")
    balance_synced_at: At | None = Field(None, description="When it was last confirmed with the bank.")
    transfers: _Found = Field(None, description="Ours that `committed` is the sum of.")
    newer: _Found = Field(None, description="Transactions that `newer_out` is the sum of.")
    pending: _Found = Field(None, description="Pending transactions; the bank takes those out off `available`.")


class CanPay(Result):
    """Whether an amount can be paid, and the arithmetic."""

    account_id: str
    answer: Literal["yes", "no", "unknown"]
    would_be: Literal["yes", "no"] | None = None
    certain: bool
    reasons: list[str]
    currency: Currency
    amount_minor: Minor
    amount: Decimal
    available_minor: int | None = None
    available: Decimal | None = Field(None, description="As the bank says. Absent: it does not.")
    committed_minor: int
    committed: Decimal = Field(description="Transfers of ours that the bank does not show yet; positive.")
    newer_out_minor: Minor
    newer_out: Decimal = Field(description="Money out that the bank dates after its balance.")
    spendable_minor: int | None = None
    spendable: Decimal | None = Field(None, description="`available` less `committed` and `newer_out`.")
    after_minor: int | None = None
    after: Decimal | None = Field(None, description="What would be left; negative is what is missing.")
    would_change: list[str] = Field(description="What would make the answer another one.")
    evidence: Evidence


@tool("Cash position")
async def get_cash_position(
    api: Api,
    currency: Code | None = None,
    status: Literal["open", "closed", "any"] = "open",
    max_age: MaxAge | None = None,
) -> CashPosition:
    """How much money there is, by currency, over all accounts: booked, available, pending, committed, spendable.

    Use it for totals, of thousands of accounts too, instead of adding up list_accounts. Currencies are not added up.
    `spendable` is `available` less `committed` (transfers of ours that the bank does not show yet) and `newer_out`
    (money out that the bank dates after its balance). An absent sum is unknown, which is not zero; accounts without
    one are counted in `accounts_unknown`.
    """
    # The sums are of all accounts, whichever are listed beside them.
    answered = await api.get("banking", "cash-position", currency=currency, status=status, max_age=max_age, limit=1)
    sums = [Sums.model_validate(line) for line in answered.data["currencies"]]
    return CashPosition(currencies=sums, freshness=Freshness.of(answered))


@tool("Can this be paid?")
async def can_pay(
    api: Api, account_id: AccountId, amount: Amount, currency: Code, max_age: MaxAge | None = None
) -> CanPay:
    """Whether an amount can be paid from an account now: yes, no or unknown, with the arithmetic and its age.

    Use it before any payment; nothing is reserved by asking. `unknown` is not yes: `reasons` says why first, and
    `would_be` what the figures would say if they could be relied on. `spendable` is `available` less `committed`
    (transfers of ours that the bank does not show yet) and `newer_out` (money out dated after the balance).
    """
    answered = await api.get(
        "banking", "can-pay", account_id=account_id, amount=amount, currency=currency, max_age=max_age
    )
    return CanPay.model_validate({**answered.data, "freshness": Freshness.of(answered)})
