"""Money is a whole number of minor units; nothing is ever rounded."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.money import (
    AMOUNT_MINOR_LIMIT,
    Money,
    MoneyError,
    UnknownCurrencyError,
    UnrepresentableAmountError,
    exponent,
)

CURRENCIES = st.sampled_from(["JPY", "USD", "EUR", "KWD", "CLF"])
MINOR = st.integers(-AMOUNT_MINOR_LIMIT + 1, AMOUNT_MINOR_LIMIT - 1)


@given(MINOR, CURRENCIES)
def test_t42_an_amount_survives_being_written_and_read(amount_minor: int, currency: str) -> None:
    """What goes out as a decimal string comes back as the same integer, in every exponent."""
    money = Money(amount_minor, currency)

    assert Money.parse(money.amount, currency) == money
    assert len(money.amount.partition(".")[2]) == exponent(currency)


@pytest.mark.parametrize(("currency", "places"), [("JPY", 0), ("KRW", 0), ("USD", 2), ("KWD", 3), ("CLF", 4)])
def test_t41_exponents_come_from_the_table(currency: str, places: int) -> None:
    """Two decimals are never assumed."""
    assert exponent(currency) == places


@pytest.mark.parametrize("currency", ["XXX", "XAU", "BTC", "usd", "", "US", "USD ", "\x00"])
def test_x1_an_unknown_currency_is_an_error(currency: str) -> None:
    """Neither skipped nor taken for dollars."""
    with pytest.raises(UnknownCurrencyError):
        exponent(currency)


@pytest.mark.parametrize(
    ("text", "currency"),
    [("0.001", "USD"), ("1.5", "JPY"), ("1e-9", "KWD"), ("NaN", "USD"), ("Infinity", "USD"), ("-inf", "USD"),
     ("1e16", "USD"), ("10000000000000", "USD"), ("1" * 40, "USD"), ("", "USD"), ("12,50", "USD"), ("0x10", "USD")],
)  # fmt: skip
def test_x1_x3_x4_what_does_not_fit_is_refused(text: str, currency: str) -> None:
    """Too many decimals, no number, too large: an error, never a rounded amount."""
    with pytest.raises(UnrepresentableAmountError):
        Money.parse(text, currency)


def test_t42_no_float_is_in_the_way() -> None:
    """-9.95 is 995 cents, which float arithmetic denies; and fifteen digits stay fifteen digits."""
    assert Money.parse("-9.95", "USD").amount_minor == -995
    assert Money.parse(Decimal("9999999999999.99"), "USD").amount_minor == 999_999_999_999_999


def test_currencies_do_not_mix() -> None:
    """There is no silent exchange."""
    with pytest.raises(MoneyError):
        Money(1, "USD") + Money(1, "EUR")
    assert Money(1, "USD") + -Money(3, "USD") == Money(-2, "USD")


@pytest.mark.parametrize("amount", [True, 1.0, "1", AMOUNT_MINOR_LIMIT, -AMOUNT_MINOR_LIMIT])
def test_only_sane_integers_are_amounts(amount: object) -> None:
    """A bool, a float, a string or a quadrillion is a bug upstream."""
    with pytest.raises(UnrepresentableAmountError):
        Money(amount, "USD")  # type: ignore[arg-type]  # the wrong type is the case


def test_money_reads_as_people_write_it() -> None:
    """Amount and currency, with the currency's decimals."""
    assert [str(Money(-1250, code)) for code in ("USD", "JPY", "KWD")] == [
        "-12.50 USD",
        "-1250 JPY",
        "-1.250 KWD",
    ]
