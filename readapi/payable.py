"""Whether an amount can be paid: the rule, given what is known. Pure.

What the bank states as available, less what it cannot have taken off yet, is spendable. The rule never guesses: where
the bank does not say, or what it said is old or may be incomplete, the answer is `unknown`. What the arithmetic says of
old figures is told beside it, so that nobody who reads the answer alone pays from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, Self

from kernel.money import Money, exponent

Outcome = Literal["yes", "no", "unknown"]
# What makes old figures young, and an answer from them certain.
_POLL = "a poll of the bank that succeeds"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an account in one currency; money out is negative, what is committed positive."""

    account_currency: str
    account_status: str
    # As the bank states it; None where it states no balance in the currency.
    balance: Mapping[str, Any] | None
    committed_minor: int
    # Of these, transfers that may never leave: of unknown outcome, or not approved yet.
    committed_uncertain_minor: int
    newer_out_minor: int
    pending_in_minor: int
    pending_out_minor: int
    # The newest of each kind by their ids, and how many there are.
    evidence: Mapping[str, Any]
    verdict: str
    verdict_reason: str | None

    @classmethod
    def read(cls, found: Mapping[str, Any], freshness: Mapping[str, Any]) -> Self:
        """From the members of spendable_get's data, and from its freshness."""
        evidence = {
            name: {"ids": found[name], "count": found[f"{name}_counted"]} for name in ("transfers", "newer", "pending")
        }
        return cls(
            account_currency=found["account_currency"],
            account_status=found["account_status"],
            balance=found["balance"],
            committed_minor=found["committed_minor"],
            committed_uncertain_minor=found["committed_uncertain_minor"],
            newer_out_minor=found["newer_out_minor"],
            pending_in_minor=found["pending_in_minor"],
            pending_out_minor=found["pending_out_minor"],
            evidence=evidence,
            verdict=freshness["verdict"],
            verdict_reason=freshness["reason"],
        )

    @property
    def available_minor(self) -> int | None:
        """What the bank states as available; None where it does not say."""
        return None if self.balance is None else self.balance["available_minor"]

    @property
    def spendable_minor(self) -> int | None:
        """What can be spent; None where the bank does not say what is available."""
        available = self.available_minor
        return None if available is None else available - self.committed_minor + self.newer_out_minor


def judge(money: Money, facts: Facts) -> dict[str, Any]:
    """The answer with its arithmetic, its evidence, its reasons, and what would change it; `money` is positive."""
    outcome, reasons, changes = _decide(money, facts)
    doubts = _doubts(money, facts, outcome)
    if doubts and facts.verdict != "fresh":
        changes = [_POLL, *changes]
    spendable = facts.spendable_minor
    amounts = {
        "available": facts.available_minor,
        "committed": facts.committed_minor,
        "newer_out": facts.newer_out_minor,
        "spendable": spendable,
        "after": None if spendable is None else spendable - money.amount_minor,
    }
    return {
        "currency": money.currency,
        "amount_minor": money.amount_minor,
        "amount": money.amount,
        "answer": "unknown" if doubts else outcome,
        "would_be": None if outcome == "unknown" else outcome,
        "certain": outcome != "unknown" and not doubts,
        **_both(amounts, money.currency),
        "evidence": {
            "balance_as_of": None if facts.balance is None else facts.balance["as_of"],
            "balance_synced_at": None if facts.balance is None else facts.balance["synced_at"],
            **facts.evidence,
            **_both({"pending_in": facts.pending_in_minor, "pending_out": facts.pending_out_minor}, money.currency),
        },
        "reasons": doubts + reasons,
        "would_change": changes,
    }


def _decide(money: Money, facts: Facts) -> tuple[Outcome, list[str], list[str]]:
    """What the arithmetic says, why, and what would change it."""
    spendable = facts.spendable_minor
    if facts.account_status == "closed":
        return "no", ["the account is closed"], ["pay from an account that is open"]
    if facts.balance is None:
        if facts.account_currency != money.currency:
            reason = f"the account is in {facts.account_currency}, and amounts are never converted"
            return "unknown", [reason], [f"ask in {facts.account_currency}, or for an account in {money.currency}"]
        return "unknown", ["the bank has stated no balance of the account"], ["a balance that the bank states"]
    if spendable is None:
        reason = "the bank states no available balance; that is not zero, and the booked balance does not tell it"
        return "unknown", [reason], ["an available balance that the bank states"]
    if facts.verdict == "unknown":
        return "unknown", [_verdict_reason(facts)], [_POLL]
    left = spendable - money.amount_minor
    if left >= 0:
        said = f"{_shown(spendable, money)} can be spent, and {_shown(left, money)} would be left"
        return "yes", [said], [f"more than {_shown(left, money)} spent or reserved before it is paid"]
    missing = -left
    said = f"{_shown(spendable, money)} can be spent, and {_shown(missing, money)} is missing"
    changes = [f"money in of {_shown(missing, money)}, or a smaller amount"]
    if facts.pending_in_minor >= missing:
        changes.append(f"pending money in of {_shown(facts.pending_in_minor, money)}, once the bank makes it available")
    return "no", [said], changes


def _doubts(money: Money, facts: Facts, outcome: Outcome) -> list[str]:
    """Why the answer may not hold, if it may not."""
    doubts = []
    if outcome != "unknown" and facts.verdict != "fresh":
        doubts.append(_verdict_reason(facts))
    spendable = facts.spendable_minor
    if outcome == "no" and spendable is not None and facts.account_status != "closed":
        # Counted as paid, which is the safe side; but then a "no" hangs on them.
        uncertain = facts.committed_uncertain_minor
        if uncertain and spendable + uncertain >= money.amount_minor:
            doubts.append(f"transfers of {_shown(uncertain, money)} are counted as paid, and may never leave")
    return doubts


def _verdict_reason(facts: Facts) -> str:
    return f"the mirror is {facts.verdict}: {facts.verdict_reason}"


def _shown(minor: int, money: Money) -> str:
    return f"{_decimal(minor, money.currency)} {money.currency}"


def _decimal(minor: int, currency: str) -> str:
    # Not by way of Money: a sum may be larger than any amount that an account has.
    return format(Decimal(minor).scaleb(-exponent(currency)), "f")


def _both(amounts: Mapping[str, int | None], currency: str) -> dict[str, int | str | None]:
    """Each amount in minor units and as a decimal text."""
    both: dict[str, int | str | None] = {}
    for name, minor in amounts.items():
        both[f"{name}_minor"] = minor
        both[name] = None if minor is None else _decimal(minor, currency)
    return both
