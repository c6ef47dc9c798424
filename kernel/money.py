"""Money: a signed integer of minor units beside its ISO 4217 currency. Money out is negative."""

from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from iso4217 import Currency

# One quadrillion minor units. No real account comes near it, and sums over a busy day still fit 64 bits;
# a bank that reports more is broken, and its row belongs into quarantine.
AMOUNT_MINOR_LIMIT = 10**15


# How both are written by clients, for whoever tells them so.
CODE_PATTERN = "^[A-Z]{3}$"
AMOUNT_PATTERN = r"^[0-9]+([.][0-9]+)?$"
# Characters. No amount takes more.
AMOUNT_LENGTH = 30


class MoneyError(ValueError):
    """This is not an amount of money."""


class UnknownCurrencyError(MoneyError):
    """The currency is not an ISO 4217 code with minor units."""


class UnrepresentableAmountError(MoneyError):
    """The amount does not fit the currency's minor unit, or is too large; it is never rounded."""


@cache
def exponent(currency: str) -> int:
    """The number of decimal places of a currency: JPY 0, USD 2, KWD 3, CLF 4.

    Raises UnknownCurrencyError for a code that ISO 4217 does not list, or lists without minor units (gold, XXX).
    """
    try:
        places = Currency(currency).exponent
    except ValueError:
        places = None
    if places is None:
        raise UnknownCurrencyError(f"unknown currency {currency!r:.12}")
    return places


def all_currencies() -> list[tuple[str, int, str]]:
    """Every currency that has minor units, as (code, exponent, name), by code."""
    return sorted(
        (currency.code, currency.exponent, currency.currency_name)
        for currency in Currency
        if currency.exponent is not None
    )


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of its currency. Arithmetic across currencies is an error."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        exponent(self.currency)
        if isinstance(self.amount_minor, bool) or not isinstance(self.amount_minor, int):
            raise UnrepresentableAmountError("an amount is a whole number of minor units")
        if abs(self.amount_minor) >= AMOUNT_MINOR_LIMIT:
            raise UnrepresentableAmountError("the amount is larger than any account holds")

    @classmethod
    def parse(cls, text: str | Decimal, currency: str) -> "Money":
        """Read a decimal amount such as "12.50". More decimals than the currency has are an error, not rounded."""
        try:
            value = Decimal(text)
        except ArithmeticError:
            raise UnrepresentableAmountError("the amount is not a decimal number") from None
        # adjusted() bounds the digits before scaleb, which would round a number of more than 28 silently.
        if not value.is_finite() or value.adjusted() > 15 or len(value.as_tuple().digits) > 28:
            raise UnrepresentableAmountError("the amount is not a finite number of a sane size")
        minor = value.scaleb(exponent(currency))
        if minor != int(minor):
            raise UnrepresentableAmountError(f"{currency} has {exponent(currency)} decimal places")
        return cls(int(minor), currency)

    def __add__(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise MoneyError(f"cannot add {other.currency} to {self.currency}")
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount_minor, self.currency)

    @property
    def amount(self) -> str:
        """The amount as a decimal string in major units: Money(-1250, "USD").amount is "-12.50"."""
        return format(Decimal(self.amount_minor).scaleb(-exponent(self.currency)), "f")

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"
