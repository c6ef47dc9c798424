"""Any interleaving of what banks do, of faults, kills, sleeping workers and syncs: then the mirror is the bank.

`make test` runs a fixed set of examples; `make torture-sync EXAMPLES=2000` runs others, long ones, and prints the seed
that brings them back: `make torture-sync EXAMPLES=2000 SEED=1234`.
"""

import os
import secrets
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.torture.books import BAD, TEXTS, day
from tests.torture.conftest import Stage
from tests.torture.wire import DAMAGES, ERRORS, Fault
from tests.torture.world import ACCOUNTS, World

EXAMPLES = int(os.environ.get("TORTURE_EXAMPLES", "200"))
STEPS = int(os.environ.get("TORTURE_STEPS", "15"))
SEED = os.environ.get("TORTURE_SEED")

ACCOUNT = st.sampled_from(list(ACCOUNTS))
AMOUNT = st.integers(-5_000, 5_000)
DAYS = st.integers(0, 12)
PICK = st.integers(0, 30)
FAULT = st.builds(Fault, st.sampled_from([*ERRORS, *DAMAGES]), st.integers(1, 3))
STRIKE = st.tuples(st.sampled_from(["kill", "cancel", "cut", "lost commit"]), st.integers(1, 30))


class Torture(RuleBasedStateMachine):
    """What can happen. Each rule leaves every invariant of `World.check` true."""

    stage: Stage

    @property
    def world(self) -> World:
        return self.stage.world

    @initialize(
        delta_feed=st.booleans(),
        bulk_balances=st.booleans(),
        page_rows=st.integers(1, 4),
        chunk_rows=st.sampled_from([1, 3, 1_000]),
    )
    def open(self, **ways: Any) -> None:
        self.stage.run(self.world.open(**ways))
        self.world.reader.moves = self.move_meanwhile

    def move_meanwhile(self) -> None:
        """What the bank does between two pages."""
        books = self.world.books
        books.post("acct_a", -1)
        if (key := books.pick(0)) is not None:
            books.take_back(key)

    # ── the bank ──

    @rule(account=ACCOUNT, amount=AMOUNT, days=DAYS, text=st.sampled_from(TEXTS))
    def post(self, account: str, amount: int, days: int, text: str) -> None:
        self.world.books.post(account, amount, day=day(days), description=text)

    @rule(account=ACCOUNT, amount=AMOUNT)
    def post_twins(self, account: str, amount: int) -> None:
        for _ in range(2):
            self.world.books.post(account, amount, created_at=f"{day(1)}T08:00:00Z")

    @rule(account=ACCOUNT, amount=AMOUNT, days=DAYS)
    def hold(self, account: str, amount: int, days: int) -> None:
        self.world.books.hold(account, amount, day=day(days))

    @rule(pick=PICK, amount=AMOUNT, link=st.booleans(), keep=st.booleans(), days=DAYS)
    def book(self, pick: int, amount: int, link: bool, keep: bool, days: int) -> None:
        books = self.world.books
        key = books.pick(pick, status="pending")
        if key is not None and key not in {
            (account_id, row["pending_transaction_id"]) for (account_id, _), row in books.rows.items()
        }:
            books.book(key, amount, link=link, keep=keep, days=days)

    @rule(pick=PICK, removed_first=st.booleans())
    def unbook(self, pick: int, removed_first: bool) -> None:
        if (key := self.world.books.pick(pick, status="posted", linked=True)) is not None:
            self.world.books.unbook(key, removed_first=removed_first)

    @rule(pick=PICK, amount=AMOUNT)
    def correct(self, pick: int, amount: int) -> None:
        if (key := self.world.books.pick(pick)) is not None:
            self.world.books.change(*key, amount_cents=amount)

    @rule(pick=PICK, days=DAYS)
    def re_date(self, pick: int, days: int) -> None:
        if (key := self.world.books.pick(pick, status="posted")) is not None:
            self.world.books.change(*key, booked_on=day(days).isoformat())

    @rule(pick=PICK)
    def remove(self, pick: int) -> None:
        if (key := self.world.books.pick(pick)) is not None:
            self.world.books.take_back(key)

    @rule(pick=PICK)
    def undelete(self, pick: int) -> None:
        self.world.books.undelete(pick)

    @rule(pick=PICK, whole=st.booleans(), removed_first=st.booleans())
    def rekey(self, pick: int, whole: bool, removed_first: bool) -> None:
        if (key := self.world.books.pick(pick)) is not None:
            keys = [other for other in self.world.books.readable() if other[0] == key[0]] if whole else [key]
            self.world.books.rekey(keys, removed_first=removed_first)

    @rule(account=ACCOUNT, kind=st.integers(0, len(BAD) - 1))
    def spoil(self, account: str, kind: int) -> None:
        self.world.books.spoil(account, kind)

    @rule(pick=PICK)
    def spoil_known(self, pick: int) -> None:
        if (key := self.world.books.pick(pick)) is not None:
            self.world.books.spoil_known(key)

    @rule(pick=PICK)
    def mend(self, pick: int) -> None:
        self.world.books.mend(pick)

    @rule(account=ACCOUNT, status=st.sampled_from(["open", "closed"]))
    def turn_account(self, account: str, status: str) -> None:
        self.world.books.accounts[account]["status"] = status

    @rule(account=ACCOUNT)
    def lose_balance(self, account: str) -> None:
        self.world.books.balances.pop(account, None)

    @rule(account=ACCOUNT)
    def state_balance(self, account: str) -> None:
        self.world.books.set_balance(account, 0)
        self.world.books.state_balances()

    @rule()
    def reset_feed(self) -> None:
        self.world.books.reset_feed()

    # ── time, and the workers ──

    @rule()
    def pass_interval(self) -> None:
        self.stage.run(self.world.pass_interval())

    @rule()
    def end_leases(self) -> None:
        self.stage.run(self.world.end_leases())

    @rule(feed=st.sampled_from(["accounts", "balances", "transactions"]))
    def sync(self, feed: str) -> None:
        self.stage.run(self.world.sync(feed))

    @rule(fault=FAULT)
    def sync_with_a_fault(self, fault: Fault) -> None:
        self.stage.run(self.world.sync(fault=fault))

    @rule(strike=STRIKE, watched=st.booleans())
    def sync_struck(self, strike: tuple[str, int], watched: bool) -> None:
        self.stage.run(self.world.sync(strike=strike, watched=watched))

    @rule(fault=FAULT, strike=STRIKE)
    def sync_struck_with_a_fault(self, fault: Fault, strike: tuple[str, int]) -> None:
        self.stage.run(self.world.sync(fault=fault, strike=strike))

    @rule()
    def sync_twice(self) -> None:
        self.stage.run(self.world.sync_twice())

    @rule()
    def sync_asleep(self) -> None:
        self.stage.run(self.world.sync_asleep())

    def teardown(self) -> None:
        self.stage.run(self.world.settle())
        self.stage.run(self.world.compare())


@pytest.mark.seconds(14_400 if "TORTURE_EXAMPLES" in os.environ else 400)
def test_i8_the_mirror_is_the_bank_after_anything(stage: Stage) -> None:
    """At every step: totals tie, histories meet, no cursor is ahead of its rows, one look removes nothing, a sleeper
    writes nothing, a replay changes nothing. Once it is quiet: rows, balances, views, quarantine, decimals are right.
    """
    is_fixed = SEED is None and "TORTURE_EXAMPLES" not in os.environ
    number = int(SEED) if SEED else secrets.randbelow(2**31)
    if not is_fixed:
        print(f"\n{EXAMPLES} examples of {STEPS} steps, SEED={number}", flush=True)
    machine = type("TortureOnStage", (Torture,), {"stage": stage})
    run_state_machine_as_test(
        machine if is_fixed else seed(number)(machine),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=is_fixed,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
