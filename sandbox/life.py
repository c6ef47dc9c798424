"""What happens as time passes: a pure function of the seed, the tick and the books before it.

Holds settle (under another id, in place, or never), standing orders run, and chance does the rest.
The same seed and the same sequence of ticks give the same rows, on every machine.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, assert_never

from sandbox.entries import Account, Amend, Book, Booked, Change, Entry, Hold, Outcome, Remove
from sandbox.schedule import PAYROLL, entries_due, own_transfer
from sandbox.words import CUSTOMERS, MERCHANTS, METERED, TIPPED, VENDORS, minor

# By chance, on an account and a bank day. A small company's account sees about this many.
_EVENTS_PER_ACCOUNT_DAY: Final = 6
# A tick is at most a bank day long, so only hundreds of accounts reach this; it bounds one transaction.
_EVENTS_PER_TICK_MAX: Final = 2_000
_DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True)
class Tick:
    """One step of the bank's time: everything in it happens after `began` and not after `ended`.

    `events` is how many things happen by chance, on average. `settle_seconds` is how long a hold lasts, in
    bank time: shortest, longest.
    """

    number: int
    began: datetime
    ended: datetime
    events: float
    settle_seconds: tuple[float, float]


def tick_of(
    number: int,
    began: datetime,
    ended: datetime,
    *,
    accounts: int,
    speed: float,
    events_per_minute: float,
    real_seconds: float,
) -> Tick:
    """A tick at the natural pace of bank time, or at the demonstration's in real time if that is more."""
    natural = (ended - began).total_seconds() / _DAY_SECONDS * accounts * _EVENTS_PER_ACCOUNT_DAY
    events = min(max(natural, events_per_minute / 60 * real_seconds), _EVENTS_PER_TICK_MAX)
    # Holds last one to three bank days, unless a bank day is longer than a minute: nobody waits for that.
    settle = (15 * speed, 55 * speed) if speed < _DAY_SECONDS / 60 else (_DAY_SECONDS, 3 * _DAY_SECONDS)
    return Tick(number, began, ended, events, settle)


def changes_of(
    seed: int, tick: Tick, accounts: Sequence[Account], due: Sequence[Hold], recent: Sequence[Booked]
) -> list[Change]:
    """Everything that happens in a tick, in order. Chance may revisit `recent`, posted card purchases."""
    chance = random.Random(f"{seed}/{tick.number}")  # noqa: S311  # Chance that can be repeated is the point.
    world = _World(chance, tick, [a for a in accounts if a.status == "open"], list(recent))
    changes: list[Change] = [change for hold in due for change in _settle(world, hold)]
    changes.extend(Book(entry) for entry in entries_due(seed, accounts, tick.began, tick.ended))
    count = int(tick.events) + (chance.random() < tick.events % 1)
    span = tick.ended - tick.began
    for moment in sorted(tick.ended - span * chance.random() for _ in range(count)):
        [happen] = chance.choices(_EVENTS, _WEIGHTS)
        changes.extend(happen(world, moment))
    return changes


@dataclass
class _World:
    chance: random.Random
    tick: Tick
    accounts: list[Account]
    recent: list[Booked]
    purse: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.purse = {a.account_id: a.available_cents for a in self.accounts}

    def spender(self) -> Account:
        """An account with cards: never payroll, and the operating account three times as often as others."""
        cards = [a for a in self.accounts if a.type == "checking" and a.account_id != PAYROLL]
        return self.chance.choice(cards[:1] * 2 + cards)

    def affords(self, account_id: str, amount_cents: int) -> bool:
        """Take the money if it is there: a bank declines the card otherwise, and nothing happens."""
        enough = self.purse[account_id] >= amount_cents
        self.purse[account_id] -= amount_cents if enough else 0
        return enough

    def revisited(self) -> Booked | None:
        """A recent purchase of a living account, each at most once a tick."""
        if not self.recent:
            return None
        booked = self.recent.pop(self.chance.randrange(len(self.recent)))
        return booked if booked.entry.account_id in self.purse else None


def _settle(world: _World, hold: Hold) -> Iterator[Change]:
    at = max(hold.due_at, world.tick.began + timedelta(microseconds=1))
    entry, hold_id = hold.booked.entry, hold.booked.transaction_id
    match hold.outcome:
        case "replaced":
            # One in five is booked on the day before: a merchant's batch carries the merchant's date.
            booked_on = at.date() - timedelta(days=world.chance.random() < 0.2)
            settled = Entry(
                entry.account_id, _final_cents(world.chance, entry), entry.type, entry.description, at,
                booked_on, entry.counterparty_name, entry.counterparty_account_id,
                pending_transaction_id=hold_id,
            )  # fmt: skip
            yield Remove(hold_id, entry.account_id)
            yield Book(settled)
        case "posted":
            yield Amend(hold_id, entry.account_id, booked_on=at.date())
        case "released":
            yield Remove(hold_id, entry.account_id)
        case _:
            assert_never(hold.outcome)


def _final_cents(chance: random.Random, entry: Entry) -> int:
    held = -entry.amount_cents
    if entry.counterparty_name in TIPPED and chance.random() < 0.7:
        return -(held + held * chance.randint(15, 22) // 100)
    if entry.counterparty_name in METERED:
        return -max(held * chance.randint(50, 160) // 100, 1)
    return -held


def _hold(world: _World, moment: datetime) -> Iterator[Change]:
    chance, account = world.chance, world.spender()
    merchant = chance.choice(MERCHANTS)
    amount_cents = minor(chance.randint(merchant.low_cents, merchant.high_cents), account.currency)
    outcomes: tuple[Outcome, ...] = ("replaced", "posted", "released")
    [outcome] = chance.choices(outcomes, (62, 25, 13))
    due_at = moment + timedelta(seconds=chance.uniform(*world.tick.settle_seconds))
    if world.affords(account.account_id, amount_cents):
        entry = Entry(account.account_id, -amount_cents, "card", merchant.descriptor, moment, None, merchant.name)
        yield Book(entry, due_at, outcome)


def _receipt(world: _World, moment: datetime) -> Iterator[Change]:
    chance, account = world.chance, world.spender()
    customer = chance.choice(CUSTOMERS)
    amount_cents = minor(chance.randint(20_000, 320_000), account.currency)
    text = f"ACH CREDIT {customer} INV-{chance.randint(1000, 9999)}"
    yield Book(Entry(account.account_id, amount_cents, "ach", text, moment, moment.date(), customer))


def _bill(world: _World, moment: datetime) -> Iterator[Change]:
    chance, account = world.chance, world.spender()
    vendor = chance.choice(VENDORS)
    amount_cents = minor(chance.randint(9_000, 190_000), account.currency)
    if world.affords(account.account_id, amount_cents):
        text = f"ACH DEBIT {vendor} {chance.randint(100000, 999999)}"
        yield Book(Entry(account.account_id, -amount_cents, "ach", text, moment, moment.date(), vendor))


def _late(world: _World, moment: datetime) -> Iterator[Change]:
    """A purchase that the bank hears of days after it booked it."""
    chance, account = world.chance, world.spender()
    merchant = chance.choice(MERCHANTS)
    amount_cents = minor(chance.randint(merchant.low_cents, merchant.high_cents), account.currency)
    booked_on = moment.date() - timedelta(days=chance.randint(2, 12))
    if world.affords(account.account_id, amount_cents):
        text = f"{merchant.descriptor} {booked_on:%m/%d}"
        yield Book(Entry(account.account_id, -amount_cents, "card", text, moment, booked_on, merchant.name))


def _refund(world: _World, moment: datetime) -> Iterator[Change]:
    if booked := world.revisited():
        part_cents = max(-booked.entry.amount_cents * world.chance.choice((25, 50, 100)) // 100, 1)
        yield Book(_answer(booked.entry, part_cents, "refund", moment))


def _reversal(world: _World, moment: datetime) -> Iterator[Change]:
    if booked := world.revisited():
        yield Book(_answer(booked.entry, -booked.entry.amount_cents, "reversal", moment))


def _answer(entry: Entry, amount_cents: int, kind: str, moment: datetime) -> Entry:
    text = f"{kind.upper()} {entry.description}"
    return Entry(
        entry.account_id, amount_cents, kind, text, moment, moment.date(),
        entry.counterparty_name, entry.counterparty_account_id,
    )  # fmt: skip


def _correction(world: _World, moment: datetime) -> Iterator[Change]:
    """Posted is not final: the text is cleaned up, or the amount was wrong."""
    if booked := world.revisited():
        if world.chance.random() < 0.5:
            text = f"{booked.entry.description.removesuffix(' (CORRECTED)')} (CORRECTED)"
            yield Amend(booked.transaction_id, booked.entry.account_id, description=text)
        else:
            corrected_cents = booked.entry.amount_cents - max(-booked.entry.amount_cents // 50, 1)
            yield Amend(booked.transaction_id, booked.entry.account_id, amount_cents=corrected_cents)


def _own_transfer(world: _World, moment: datetime) -> Iterator[Change]:
    source = world.spender()
    others = [a for a in world.accounts if a.currency == source.currency and a != source]
    if not others:
        return
    destination = world.chance.choice(others)
    amount_cents = minor(world.chance.randint(10, 300) * 1_000, source.currency)
    if world.affords(source.account_id, amount_cents):
        for leg in own_transfer(
            source.account_id, source.name, destination.account_id, destination.name,
            amount_cents, moment, "Transfer",
        ):  # fmt: skip
            yield Book(leg)


def _wire_fee(world: _World, moment: datetime) -> Iterator[Change]:
    account = world.spender()
    amount_cents = minor(1_500, account.currency)
    if world.affords(account.account_id, amount_cents):
        yield Book(Entry(account.account_id, -amount_cents, "fee", "WIRE FEE", moment, moment.date()))


_Happening = Callable[[_World, datetime], Iterator[Change]]
_EVENTS: Final[tuple[_Happening, ...]] = (
    _hold, _receipt, _bill, _late, _refund, _reversal, _correction, _own_transfer, _wire_fee,
)  # fmt: skip
_WEIGHTS: Final = (54, 15, 9, 5, 4, 3, 4, 4, 2)
