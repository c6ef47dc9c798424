"""What an answer of the bank does to a transfer: every verdict in every situation, and at every time."""

from datetime import UTC, datetime, timedelta

import pytest

from banks.ports import Outcome, Verdict
from transfers import states
from transfers.states import (
    CONCLUDED,
    EDGES,
    Move,
    Rules,
    SendAgain,
    Sent,
    State,
    after_look_up,
    after_post,
    may_send_again,
    pause_after,
)

SENT_AT = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
DAY, HOUR, MINUTE, SECOND = (
    timedelta(days=1),
    timedelta(hours=1),
    timedelta(minutes=1),
    timedelta(seconds=1),
)
RULES = Rules(retention=DAY, resend_after=MINUTE, can_look_up=True)


def sent(posts: int = 1, *, last: timedelta = timedelta(0), contacts: int = 2) -> Sent:
    return Sent(posts, SENT_AT, SENT_AT + last, contacts)


@pytest.mark.parametrize(
    ("verdict", "state", "posts", "to"),
    [
        (Verdict.ACCEPTED, State.SUBMITTING, 0, State.ACCEPTED),
        (Verdict.ACCEPTED, State.UNKNOWN, 1, State.ACCEPTED),
        (Verdict.REJECTED, State.SUBMITTING, 0, State.REJECTED),
        (Verdict.REJECTED, State.UNKNOWN, 1, State.REJECTED),
        (Verdict.CONFLICT, State.SUBMITTING, 0, State.MANUAL_REVIEW),
        (Verdict.CONFLICT, State.UNKNOWN, 1, State.MANUAL_REVIEW),
        (Verdict.UNKNOWN, State.SUBMITTING, 0, State.UNKNOWN),
        (Verdict.UNKNOWN, State.UNKNOWN, 1, State.UNKNOWN),
        (Verdict.ABSENT, State.SUBMITTING, 0, State.UNKNOWN),
        (Verdict.NOT_SENT, State.SUBMITTING, 0, State.READY),
        (Verdict.REFUSED_CREDENTIALS, State.SUBMITTING, 0, State.READY),
        # An earlier POST may have been executed: that nothing was sent now says nothing about it.
        (Verdict.NOT_SENT, State.SUBMITTING, 1, State.UNKNOWN),
        (Verdict.NOT_SENT, State.UNKNOWN, 1, State.UNKNOWN),
        (Verdict.NOT_SENT, State.UNKNOWN, 0, State.UNKNOWN),
        (Verdict.REFUSED_CREDENTIALS, State.UNKNOWN, 1, State.UNKNOWN),
    ],
)
def test_what_a_post_leads_to(verdict: Verdict, state: State, posts: int, to: State) -> None:
    """Only evidence moves a transfer to an end, and only one that never reached the bank starts over."""
    move = after_post(state, Outcome(verdict, "txn_1"), posts=posts, contacts=1)

    assert move.to is to


def test_an_acceptance_without_an_id_is_unknown() -> None:
    """A success that does not say which payment it is about is no evidence."""
    assert after_post(State.SUBMITTING, Outcome(Verdict.ACCEPTED), posts=0, contacts=1).to is State.UNKNOWN
    assert after_look_up(Outcome(Verdict.ACCEPTED), sent(), RULES, SENT_AT) == Move(State.UNKNOWN, None, 2 * SECOND)


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("state", [State.SUBMITTING, State.UNKNOWN])
@pytest.mark.parametrize("posts", [0, 1])
@pytest.mark.parametrize("bank_id", [None, "txn_1"])
def test_no_post_leads_off_the_map(verdict: Verdict, state: State, posts: int, bank_id: str | None) -> None:
    """Whatever the bank says, the next state is one that the table allows."""
    to = after_post(state, Outcome(verdict, bank_id), posts=posts, contacts=1).to

    assert to is state or (state, to) in EDGES


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("age", [timedelta(0), 2 * MINUTE, DAY - MINUTE, DAY, 3 * DAY])
@pytest.mark.parametrize("posts", [0, 1, 5])
@pytest.mark.parametrize("can_look_up", [True, False])
def test_no_look_up_leads_off_the_map(verdict: Verdict, age: timedelta, posts: int, can_look_up: bool) -> None:
    """The same for look-ups; and none of them ever rejects."""
    rules = Rules(DAY, MINUTE, can_look_up)
    step = after_look_up(Outcome(verdict, "txn_1"), sent(posts), rules, SENT_AT + age)

    if isinstance(step, Move):
        assert step.to is State.UNKNOWN or (State.UNKNOWN, step.to) in EDGES
        assert step.to is not State.REJECTED


@pytest.mark.parametrize(
    ("verdict", "to"), [(Verdict.ACCEPTED, State.ACCEPTED), (Verdict.CONFLICT, State.MANUAL_REVIEW)]
)
@pytest.mark.parametrize("age", [timedelta(0), HOUR, 400 * DAY])
def test_evidence_counts_at_any_time(verdict: Verdict, to: State, age: timedelta) -> None:
    """A payment that is found is found, however late."""
    step = after_look_up(Outcome(verdict, "txn_1"), sent(), RULES, SENT_AT + age)

    assert isinstance(step, Move)
    assert step.to is to


@pytest.mark.parametrize(
    ("age", "last", "posts", "allowed"),
    [
        (59 * SECOND, timedelta(0), 1, False),  # it may still be executing
        (60 * SECOND, timedelta(0), 1, True),
        (2 * HOUR, 2 * HOUR - 59 * SECOND, 2, False),  # counted from the last one
        (2 * HOUR, 2 * HOUR - 60 * SECOND, 2, True),
        (DAY - 5 * MINUTE - SECOND, timedelta(0), 1, True),
        (DAY - 5 * MINUTE, timedelta(0), 1, False),  # the bank may forget the key meanwhile
        (10 * DAY, timedelta(0), 1, False),
        (2 * HOUR, timedelta(0), 4, True),
        (2 * HOUR, timedelta(0), 5, False),  # a stored 500 comes back for ever
    ],
)
def test_when_the_same_key_may_be_sent_again(age: timedelta, last: timedelta, posts: int, allowed: bool) -> None:
    """Inside the bank's memory of the key, after it can have finished the last one, and not for ever."""
    assert may_send_again(sent(posts, last=last), RULES, SENT_AT + age) is allowed
    step = after_look_up(Outcome(Verdict.ABSENT), sent(posts, last=last), RULES, SENT_AT + age)
    assert isinstance(step, SendAgain) is allowed


@pytest.mark.parametrize(
    ("retention", "resend_after", "window"),
    [
        (DAY, MINUTE, DAY - 5 * MINUTE),
        (30 * MINUTE, MINUTE, 25 * MINUTE),
        (20 * MINUTE, MINUTE, 15 * MINUTE),
        (8 * SECOND, SECOND, 6 * SECOND),
        (8 * SECOND, 5 * SECOND, 3 * SECOND),
        (timedelta(0), MINUTE, -MINUTE),
        (timedelta.max, MINUTE, 36_500 * DAY - 5 * MINUTE),
    ],
)
def test_the_window_ends_before_the_banks_memory(
    retention: timedelta, resend_after: timedelta, window: timedelta
) -> None:
    """Five minutes before, or a quarter of a short memory, and never less than a request may take."""
    rules = Rules(retention, resend_after, can_look_up=True)

    assert rules.window == window
    assert rules.window + resend_after <= max(retention, timedelta(0))


def test_a_bank_without_keys_is_never_sent_to_twice() -> None:
    """A retention of nothing means that the bank takes every POST for a new payment."""
    rules = Rules(timedelta(0), MINUTE, can_look_up=True)

    for age in (timedelta(0), MINUTE, HOUR, DAY):
        assert not may_send_again(sent(), rules, SENT_AT + age)


def test_a_bank_that_cannot_be_asked_is_sent_the_same_key() -> None:
    """Where there is no look-up, its memory of the key is the only way to ask; past it, people are."""
    rules = Rules(DAY, MINUTE, can_look_up=False)
    nothing = Outcome(Verdict.UNKNOWN)

    assert after_look_up(nothing, sent(), rules, SENT_AT + MINUTE) == SendAgain()
    assert after_look_up(nothing, sent(), rules, SENT_AT + DAY) == Move(State.MANUAL_REVIEW, "not-found-at-bank")


@pytest.mark.parametrize(
    ("verdict", "age", "posts", "to"),
    [
        (Verdict.ABSENT, DAY - MINUTE, 1, State.UNKNOWN),
        (Verdict.ABSENT, DAY, 1, State.MANUAL_REVIEW),
        (Verdict.ABSENT, HOUR, 5, State.UNKNOWN),
        (Verdict.ABSENT, DAY, 5, State.MANUAL_REVIEW),
        (Verdict.UNKNOWN, DAY, 1, State.UNKNOWN),
        (Verdict.UNKNOWN, 2 * DAY - SECOND, 1, State.UNKNOWN),
        (Verdict.UNKNOWN, 2 * DAY, 1, State.MANUAL_REVIEW),
        (Verdict.REFUSED_CREDENTIALS, 2 * DAY, 1, State.MANUAL_REVIEW),
    ],
)
def test_when_people_must_look(verdict: Verdict, age: timedelta, posts: int, to: State) -> None:
    """After a day without a trace, or two without an answer; and not before."""
    step = after_look_up(Outcome(verdict), sent(posts), RULES, SENT_AT + age)

    assert isinstance(step, Move)
    assert step.to is to


def test_a_look_up_comes_again_when_sending_is_allowed() -> None:
    """Waiting for the moment is not stretched by the doubling pauses."""
    step = after_look_up(Outcome(Verdict.ABSENT), sent(contacts=12), RULES, SENT_AT + 50 * SECOND)

    assert step == Move(State.UNKNOWN, None, 10 * SECOND)


@pytest.mark.parametrize(
    ("contacts", "retry_after", "pause"),
    [
        (0, None, SECOND),
        (1, None, SECOND),
        (2, None, 2 * SECOND),
        (9, None, 256 * SECOND),
        (10, None, 5 * MINUTE),
        (10_000, None, 5 * MINUTE),
        (1, 30 * SECOND, 30 * SECOND),
        (1, timedelta(seconds=-5), SECOND),
        (1, 400 * DAY, 15 * MINUTE),
    ],
)
def test_pauses(contacts: int, retry_after: timedelta | None, pause: timedelta) -> None:
    """They double, the bank may ask for longer ones, and nobody can ask for absurd ones."""
    assert pause_after(contacts, retry_after) == pause


def test_ends_have_no_way_out() -> None:
    """Rejected, canceled and returned are for ever; settled can only come back."""
    ways_out = {state: {to for source, to in EDGES if source is state} for state in State}

    assert not ways_out[State.REJECTED] | ways_out[State.CANCELED] | ways_out[State.RETURNED]
    assert ways_out[State.SETTLED] == {State.RETURNED}


def test_nothing_is_sent_from_a_state_that_people_decide() -> None:
    """Only `ready` leads to `submitting`, and only approval or certainty that nothing was sent lead to
    `ready`.
    """
    assert {source for source, to in EDGES if to is State.SUBMITTING} == {State.READY}
    assert {source for source, to in EDGES if to is State.READY} == {
        State.PENDING_APPROVAL,
        State.SUBMITTING,
    }
    assert CONCLUDED.isdisjoint({State.READY, State.SUBMITTING, State.UNKNOWN})


def test_the_module_is_pure() -> None:
    """No clock, no network, no database: what it decides can be replayed."""
    assert not {"time", "asyncio", "psycopg", "httpx"} & set(vars(states))
