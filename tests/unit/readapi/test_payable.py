"""Whether an amount can be paid, for everything that can be known of an account."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.money import AMOUNT_MINOR_LIMIT, Money
from readapi import models
from readapi.payable import Facts, judge

NOTHING = {name: {"ids": [], "count": 0} for name in ("transfers", "newer", "pending")}


def facts(available_minor: int | None = 100_00, **given: Any) -> Facts:
    """An open account in USD with something available, freshly read; nothing is under way."""
    stated = {
        "current_minor": 0,
        "available_minor": available_minor,
        "as_of": "2026-03-02T12:00:00+00:00",
        "synced_at": "2026-03-02T12:00:01+00:00",
    }
    plain = Facts("USD", "open", stated, 0, 0, 0, 0, 0, NOTHING, "fresh", None)
    return replace(plain, **given)


def usd(minor: int) -> Money:
    """An amount."""
    return Money(minor, "USD")


@pytest.mark.parametrize(
    ("minor", "given", "answer", "certain", "after_minor"),
    [
        (100_00, {}, "yes", True, 0),
        (100_01, {}, "no", True, -1),
        (60_00, {"committed_minor": 40_00}, "yes", True, 0),
        (60_01, {"committed_minor": 40_00}, "no", True, -1),
        (60_01, {"newer_out_minor": -40_00}, "no", True, -1),
        (20_01, {"newer_out_minor": -40_00, "committed_minor": 40_00}, "no", True, -1),
        # Pending money in is not available, and what is pending out was taken off by the bank.
        (100_00, {"pending_out_minor": -50_00}, "yes", True, 0),
        (100_01, {"pending_in_minor": 50_00}, "no", True, -1),
        # Old or incomplete is still counted, and is no answer.
        (1, {"verdict": "stale", "verdict_reason": "since noon"}, "unknown", False, 99_99),
        (100_01, {"verdict": "partial", "verdict_reason": "loading"}, "unknown", False, -1),
        # A "no" that hangs on a transfer that may never leave is not certain; a "yes" despite of it is.
        (80_00, {"committed_minor": 40_00, "committed_uncertain_minor": 40_00}, "unknown", False, -20_00),
        (100_01, {"committed_minor": 40_00, "committed_uncertain_minor": 40_00}, "no", True, -40_01),
        (60_00, {"committed_minor": 40_00, "committed_uncertain_minor": 40_00}, "yes", True, 0),
        # Unknown is neither yes nor no.
        (1, {"verdict": "unknown", "verdict_reason": "not read"}, "unknown", False, 99_99),
        (1, {"balance": None}, "unknown", False, None),
        (1, {"balance": None, "account_currency": "EUR"}, "unknown", False, None),
        (1, {"account_status": "closed"}, "no", True, 99_99),
    ],
)
def test_the_rule(minor: int, given: dict[str, Any], answer: str, certain: bool, after_minor: int | None) -> None:
    """What the bank states as available, less what it cannot have taken off yet."""
    judged = judge(usd(minor), facts(**given))

    assert (judged["answer"], judged["certain"], judged["after_minor"]) == (answer, certain, after_minor)
    assert judged["reasons"]
    assert judged["would_change"]


def test_old_figures_are_counted_and_are_no_answer() -> None:
    """Whoever reads the answer alone does not pay; what the figures say, and first of all why it is none, is beside."""
    for minor, would_be in ((1, "yes"), (100_01, "no")):
        judged = judge(usd(minor), facts(verdict="stale", verdict_reason="nobody polls"))

        assert (judged["answer"], judged["would_be"]) == ("unknown", would_be)
        assert judged["reasons"][0] == "the mirror is stale: nobody polls"
        assert "can be spent" in judged["reasons"][1]
        assert judged["would_change"][0] == "a poll of the bank that succeeds"
    assert judge(usd(1), facts())["would_be"] == "yes"
    assert judge(usd(1), facts(None))["would_be"] is None


def test_null_is_unknown_and_never_zero() -> None:
    """A bank that does not say what is available: nothing follows, whatever is booked."""
    judged = judge(usd(1), facts(None, committed_minor=5))

    assert judged["answer"] == "unknown"
    assert judged["available_minor"] is judged["spendable_minor"] is judged["after_minor"] is judged["after"] is None
    assert "not zero" in judged["reasons"][0]


def test_another_currency_is_not_converted() -> None:
    """And the reason names the currency that there is."""
    judged = judge(Money(1, "EUR"), facts(balance=None))

    assert judged["answer"] == "unknown"
    assert "USD" in judged["reasons"][0]
    # An account may have balances in several currencies: then it is not about the account's own.
    assert judge(Money(1, "EUR"), facts())["answer"] == "yes"


def test_reasons_are_plain() -> None:
    """The arithmetic is in the words too, in major units."""
    judged = judge(usd(12_000_00), facts(10_000_50, committed_minor=50, pending_in_minor=5_000_00))

    assert judged["reasons"] == ["10000.00 USD can be spent, and 2000.00 USD is missing"]
    assert judged["would_change"] == [
        "money in of 2000.00 USD, or a smaller amount",
        "pending money in of 5000.00 USD, once the bank makes it available",
    ]


SUMS = st.integers(0, 10**19)


@given(
    amount=st.integers(1, AMOUNT_MINOR_LIMIT - 1),
    available=st.none() | st.integers(-(10**18), 10**18),
    committed=SUMS,
    newer=SUMS,
    pending=SUMS,
    verdict=st.sampled_from(["fresh", "partial", "stale", "unknown"]),
)
def test_any_amounts(
    amount: int, available: int | None, committed: int, newer: int, pending: int, verdict: str
) -> None:
    """Sums may be larger than any amount is: the answer has its shape, is exact, and is yes only where it is enough."""
    known = facts(
        available,
        committed_minor=committed,
        newer_out_minor=-newer,
        pending_in_minor=pending,
        verdict=verdict,
        verdict_reason="because",
    )
    judged = models.CanPay.model_validate({"account_id": "acct_1", **judge(usd(amount), known)}, strict=False)

    if available is None or verdict == "unknown":
        assert judged.answer == "unknown"
    else:
        assert judged.after_minor == available - committed - newer - amount
        assert (judged.would_be == "yes") == (judged.after_minor >= 0)
        assert judged.answer == (judged.would_be if verdict == "fresh" else "unknown")
    assert judged.certain == (judged.answer != "unknown")
