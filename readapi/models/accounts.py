"""Accounts and their balances."""

from typing import Literal

from pydantic import AwareDatetime, Field

from readapi.models.shapes import Amount, Currency, Envelope, MinorUnits, Shape


class Balance(Shape):
    """A balance as the bank states it."""

    currency: Currency
    current_minor: MinorUnits
    current: Amount
    available_minor: int | None = Field(
        description="What can be spent. Null where the bank does not say: that is not zero."
    )
    available: str | None
    as_of: AwareDatetime
    synced_at: AwareDatetime | None = Field(description="When we last confirmed it; null at a moment in the past.")


class AccountBalance(Balance):
    """A balance, and whose it is."""

    account_id: str


class PastBalance(Shape):
    """A balance that differed from the one before it."""

    currency: Currency
    current_minor: MinorUnits
    current: Amount
    available_minor: int | None
    available: str | None
    as_of: AwareDatetime
    known_from: AwareDatetime = Field(description="When we first saw it.")
    last_seen_at: AwareDatetime | None = Field(
        description="When the bank last confirmed it unchanged; null at a moment in the past."
    )


class AccountBalances(Shape):
    """An account's balances now, and before, newest first."""

    account_id: str
    current: list[Balance]
    history: list[PastBalance]


class Account(Shape):
    """An account, with the balance in its own currency."""

    account_id: str = Field(examples=["acct_123"])
    name: str = Field(examples=["Operating"])
    type: str = Field(examples=["checking"])
    currency: Currency
    status: Literal["open", "closed"]
    first_seen_at: AwareDatetime
    last_seen_at: AwareDatetime
    balance: Balance | None


class Accounts(Envelope[list[Account]]):
    """Accounts by id."""


class OneAccount(Envelope[Account]):
    """An account."""


class BalancesOfAccount(Envelope[AccountBalances]):
    """An account's balances."""


class Balances(Envelope[list[AccountBalance]]):
    """Balances by account and currency."""
