"""One transfer against a bank that fails in every way, in virtual time: money moves at most once, and never
unseen.

The bank here is worse than its contract: a request that it has begun is executed later, whatever happened to
the key meanwhile. That is what `resend_after` is for. Mutants of the rules must be caught by the same
assertions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banks.ports import Outcome, Verdict
from transfers import states
from transfers.states import Move, Rules, SendAgain, Sent, State

BEGIN = datetime(2026, 1, 15, tzinfo=UTC)
RESEND_AFTER = timedelta(seconds=60)
LEASE = timedelta(seconds=35)

REACTIONS = [
    "pay", "not_sent", "lost_before", "lost_after", "late", "decline", "credentials", "conflict", "no_id",
]  # fmt: skip


@dataclass(frozen=True)
class Event:
    """What the bank does next, what becomes of the worker, and how long it takes until anyone looks again."""

    reaction: str
    # `blind` is a listing that lags behind the books, and shows nothing of a payment that was made.
    look_up: str = "true"
    worker_dies: bool = False
    seconds: int = 1
    late_seconds: int = 60


EVENTS = st.lists(
    st.builds(
        Event,
        reaction=st.sampled_from(REACTIONS),
        look_up=st.sampled_from(["true", "fails", "blind"]),
        worker_dies=st.booleans(),
        seconds=st.sampled_from([0, 1, 30, 61, 3_600, 80_000, 86_101, 86_399, 90_000, 400_000]),
        late_seconds=st.integers(1, 60),
    ),
    min_size=1,
    max_size=12,
)


@dataclass
class World:
    """A bank, a database row, and the clock."""

    now: datetime = BEGIN
    retention: timedelta = timedelta(days=1)
    executed: int = 0
    remembered: tuple[datetime, Outcome] | None = None
    late: list[datetime] = field(default_factory=list)
    reached: bool = False
    state: State = State.READY
    sent: Sent = field(default_factory=lambda: Sent(0, BEGIN, BEGIN, 0))

    def pass_time(self, by: timedelta) -> None:
        self.now += by
        for due in [due for due in self.late if due <= self.now]:
            self.late.remove(due)
            self._execute(due)

    def pay(self, event: Event) -> Outcome:
        if event.reaction == "not_sent":
            return Outcome(Verdict.NOT_SENT)
        self.reached = self.reached or event.reaction != "credentials"
        if event.reaction == "credentials":
            return Outcome(Verdict.REFUSED_CREDENTIALS)
        if self.remembered is not None and self.now - self.remembered[0] < self.retention:
            return self.remembered[1]
        match event.reaction:
            case "pay":
                return self._execute(self.now)
            case "lost_after":
                self._execute(self.now)
                return Outcome(Verdict.UNKNOWN)
            case "no_id":
                self._execute(self.now)
                return Outcome(Verdict.ACCEPTED)
            case "late":
                self.late.append(self.now + timedelta(seconds=event.late_seconds))
                return Outcome(Verdict.UNKNOWN)
            case "decline":
                self.remembered = (self.now, Outcome(Verdict.REJECTED, code="insufficient-funds"))
                return self.remembered[1]
            case "conflict":
                return Outcome(Verdict.CONFLICT)
            case _:
                return Outcome(Verdict.UNKNOWN)

    def look_up(self, event: Event) -> Outcome:
        match event.look_up, self.executed:
            case "fails", _:
                return Outcome(Verdict.UNKNOWN)
            case "blind", _:
                return Outcome(Verdict.ABSENT)
            case _, 0:
                return Outcome(Verdict.ABSENT)
            case _, 1:
                return Outcome(Verdict.ACCEPTED, "txn_1")
            case _:
                return Outcome(Verdict.CONFLICT)

    def _execute(self, at: datetime) -> Outcome:
        self.executed += 1
        outcome = Outcome(Verdict.ACCEPTED, f"txn_{self.executed}")
        self.remembered = (at, outcome)
        return outcome


@dataclass(frozen=True)
class Brain:
    """The rules under test, as the workers call them."""

    after_post: Callable[..., Move] = states.after_post
    after_look_up: Callable[[Outcome, Sent, Rules, datetime], Move | SendAgain] = states.after_look_up
    resend_key_is_new: bool = False


def live(world: World, event: Event, brain: Brain) -> None:
    """One round of a worker, as submitter.py and resolver.py do it."""
    rules = Rules(world.retention, RESEND_AFTER, can_look_up=True)
    match world.state:
        case State.READY:
            world.sent = replace(world.sent, contacts=world.sent.contacts + 1)
            if world.sent.contacts == 1:
                world.sent = replace(world.sent, first_sent_at=world.now)
            earlier = world.sent.posts
            send(world, event, brain, State.SUBMITTING, earlier)
        case State.UNKNOWN:
            world.sent = replace(world.sent, contacts=world.sent.contacts + 1)
            step = brain.after_look_up(world.look_up(event), world.sent, rules, world.now)
            if isinstance(step, SendAgain):
                if brain.resend_key_is_new:
                    world.remembered = None
                send(world, event, brain, State.UNKNOWN, world.sent.posts)
            else:
                world.state = step.to
        case _:
            pass


def send(world: World, event: Event, brain: Brain, state: State, earlier: int) -> None:
    outcome = world.pay(event)
    if event.worker_dies:
        # Nothing is recorded: when the lease ends it is unknown, and the POST may have left at any moment of
        # it.
        world.sent = replace(world.sent, posts=earlier + 1, last_sent_at=world.now + LEASE)
        world.state = State.UNKNOWN
        world.pass_time(LEASE)
        return
    if outcome.verdict not in (Verdict.NOT_SENT, Verdict.REFUSED_CREDENTIALS):
        world.sent = replace(world.sent, posts=earlier + 1, last_sent_at=world.now)
    world.state = brain.after_post(state, outcome, posts=earlier, contacts=world.sent.contacts).to


def violation(events: list[Event], brain: Brain) -> str | None:
    """What went wrong with the money, if anything did."""
    world = World()
    for event in events:
        live(world, event, brain)
        world.pass_time(timedelta(seconds=event.seconds))
        if problem := judge(world):
            return problem
    world.pass_time(timedelta(days=1))
    return judge(world)


def judge(world: World) -> str | None:
    if world.executed > 1:
        return "paid twice"
    if world.state is State.ACCEPTED and world.executed != 1:
        return "accepted without a payment"
    if world.state is State.REJECTED and world.executed + len(world.late) > 0:
        return "rejected, but paid"
    if world.state is State.READY and world.reached:
        return "back to ready, but it reached the bank"
    return None


@settings(max_examples=400, deadline=None)
@given(EVENTS)
def test_money_moves_at_most_once_and_never_unseen(events: list[Event]) -> None:
    """I-1, I-4: whatever the bank does, in whatever order, and whoever dies."""
    assert violation(events, Brain()) is None


@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_every_transfer_comes_to_an_end(events: list[Event]) -> None:
    """I-19: once the bank behaves, no transfer stays open: it is accepted, rejected, or with people."""
    world = World()
    for event in events:
        live(world, event, Brain())
        world.pass_time(timedelta(seconds=event.seconds))
    for _ in range(20):
        live(world, Event("pay"), Brain())
        world.pass_time(timedelta(hours=1))
    for _ in range(3):
        live(world, Event("pay"), Brain())
        world.pass_time(timedelta(days=1))

    assert world.state in (State.ACCEPTED, State.REJECTED, State.MANUAL_REVIEW)
    assert judge(world) is None


def _timeout_is_failure(state: State, outcome: Outcome, *, posts: int, contacts: int) -> Move:
    if outcome.verdict is Verdict.UNKNOWN:
        return Move(State.REJECTED)
    return states.after_post(state, outcome, posts=posts, contacts=contacts)


def _not_sent_is_always_a_fresh_start(state: State, outcome: Outcome, *, posts: int, contacts: int) -> Move:
    if outcome.verdict is Verdict.NOT_SENT:
        return Move(State.READY)
    return states.after_post(state, outcome, posts=posts, contacts=contacts)


def _unknown_is_sent_afresh(state: State, outcome: Outcome, *, posts: int, contacts: int) -> Move:
    if outcome.verdict is Verdict.UNKNOWN:
        return Move(State.READY)
    return states.after_post(state, outcome, posts=posts, contacts=contacts)


def _any_success_is_acceptance(state: State, outcome: Outcome, *, posts: int, contacts: int) -> Move:
    if outcome.verdict is Verdict.ABSENT or outcome.verdict is Verdict.CONFLICT:
        return Move(State.ACCEPTED)
    return states.after_post(state, outcome, posts=posts, contacts=contacts)


def _absence_is_failure(outcome: Outcome, sent: Sent, rules: Rules, now: datetime) -> Move | SendAgain:
    if outcome.verdict is Verdict.ABSENT:
        return Move(State.REJECTED)
    return states.after_look_up(outcome, sent, rules, now)


def _no_retention_check(outcome: Outcome, sent: Sent, rules: Rules, now: datetime) -> Move | SendAgain:
    return states.after_look_up(outcome, sent, replace(rules, retention=timedelta.max), now)


def _no_wait_for_late_execution(outcome: Outcome, sent: Sent, rules: Rules, now: datetime) -> Move | SendAgain:
    return states.after_look_up(outcome, sent, replace(rules, resend_after=timedelta(0)), now)


def _sends_without_asking(outcome: Outcome, sent: Sent, rules: Rules, now: datetime) -> Move | SendAgain:
    return SendAgain()


LOST = Event("lost_before", seconds=61)
MUTANTS = {
    "timeout is failure": (Brain(after_post=_timeout_is_failure), [Event("lost_after")]),
    "not sent is always a fresh start": (
        Brain(after_post=_not_sent_is_always_a_fresh_start),
        [LOST, Event("not_sent")],
    ),
    "unknown is sent afresh": (Brain(after_post=_unknown_is_sent_afresh), [Event("late"), Event("pay")]),
    "any success is acceptance": (Brain(after_post=_any_success_is_acceptance), [Event("conflict")]),
    "absence is failure": (Brain(after_look_up=_absence_is_failure), [Event("late"), Event("pay")]),
    "no retention check": (
        Brain(after_look_up=_no_retention_check),
        [Event("lost_after", seconds=90_000), Event("pay", look_up="blind")],
    ),
    "no wait for late execution": (
        Brain(after_look_up=_no_wait_for_late_execution),
        [Event("late"), Event("pay")],
    ),
    "sends without asking": (
        Brain(after_look_up=_sends_without_asking),
        [Event("lost_after", seconds=90_000), Event("pay")],
    ),
    "a new key for every sending": (
        Brain(resend_key_is_new=True),
        [Event("lost_after", seconds=61), Event("pay", look_up="blind")],
    ),
}


@pytest.mark.parametrize(("brain", "events"), MUTANTS.values(), ids=MUTANTS.keys())
def test_mutants_are_caught(brain: Brain, events: list[Event]) -> None:
    """Negative controls: each of these rules looks reasonable and loses money, and the assertions above see
    it.
    """
    assert violation(events, brain) is not None
    assert violation(events, Brain()) is None
