"""The states of a transfer, the moves between them, and what an answer of the bank means for the next step.

Pure: no clock, no database, no network. `transfer.edges` in the database holds the same table and refuses the
rest.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from banks.ports import Outcome, Verdict


class State(StrEnum):
    """Where a transfer stands."""

    PENDING_APPROVAL = "pending_approval"  # waits for a person
    READY = "ready"  # may be sent; nothing was
    SUBMITTING = "submitting"  # an attempt is committed and may be on the wire
    UNKNOWN = "unknown"  # sent, outcome not known: only evidence resolves it
    ACCEPTED = "accepted"  # the bank has it and gave it an id
    SETTLED = "settled"  # seen posted in the mirrored feed
    REJECTED = "rejected"  # the bank declined it; no money moved
    RETURNED = "returned"  # it came back after it was accepted
    CANCELED = "canceled"  # withdrawn before it was sent
    MANUAL_REVIEW = "manual_review"  # the evidence contradicts itself, or there is none; people decide


EDGES = frozenset(
    {
        (State.PENDING_APPROVAL, State.READY),
        (State.PENDING_APPROVAL, State.CANCELED),
        (State.READY, State.SUBMITTING),
        (State.READY, State.CANCELED),
        (State.SUBMITTING, State.READY),
        (State.SUBMITTING, State.ACCEPTED),
        (State.SUBMITTING, State.REJECTED),
        (State.SUBMITTING, State.UNKNOWN),
        (State.SUBMITTING, State.MANUAL_REVIEW),
        (State.UNKNOWN, State.ACCEPTED),
        (State.UNKNOWN, State.REJECTED),
        (State.UNKNOWN, State.MANUAL_REVIEW),
        (State.ACCEPTED, State.SETTLED),
        (State.ACCEPTED, State.RETURNED),
        (State.SETTLED, State.RETURNED),
        (State.MANUAL_REVIEW, State.ACCEPTED),
        (State.MANUAL_REVIEW, State.REJECTED),
    }
)

# Nothing more will be learnt by waiting a few seconds.
CONCLUDED = frozenset(State) - {State.READY, State.SUBMITTING, State.UNKNOWN}

# Our clock and the bank's may differ, and a request can be under way for a while: never closer to the end of
# the bank's memory than this.
_MARGIN = timedelta(minutes=5)
# How long a transfer may be unknown before people look at it, if the bank's memory does not end earlier.
_PATIENCE = timedelta(days=1)
# A bank that remembers keys for ever is asked for ever no more than one that remembers them this long.
_LONGEST_RETENTION = timedelta(days=36_500)
# A bank that answers 500 may have stored that answer under our key and would repeat it for ever.
_POSTS_MAX = 5

_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=5)
# A bank may ask us to wait, but not to forget about it.
_LONGEST_RETRY_AFTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a bank allows. `resend_after` is how long it may still execute a request that we gave up on."""

    retention: timedelta
    resend_after: timedelta
    can_look_up: bool

    @property
    def window(self) -> timedelta:
        """How long after the first attempt the same key may be sent again; negative for never.

        Banks with a short memory leave a quarter of it instead of five minutes, and in no case less than a
        request may take: one that is sent in time must also arrive in time.
        """
        retention = min(self.retention, _LONGEST_RETENTION)
        return retention - max(min(_MARGIN, retention / 4), self.resend_after)

    @property
    def patience(self) -> timedelta:
        """How long look-ups may find nothing until people must look."""
        return max(min(self.retention, _PATIENCE), 4 * self.resend_after)


@dataclass(frozen=True, slots=True)
class Sent:
    """What the attempts of a transfer say. `posts` counts those that may have reached the bank."""

    posts: int
    first_sent_at: datetime
    last_sent_at: datetime
    contacts: int


@dataclass(frozen=True, slots=True)
class Move:
    """Record this state (it may be the present one) and come back after `pause`, if it is one to work on."""

    to: State
    code: str | None = None
    pause: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Send the same bytes under the same key once more."""


def after_post(state: State, outcome: Outcome, *, posts: int, contacts: int) -> Move:
    """What the answer to a POST does to a transfer in `submitting` or `unknown`.

    `posts` counts the earlier POSTs that may have reached the bank, this one not included.
    """
    pause = pause_after(contacts, outcome.retry_after)
    match outcome.verdict:
        case Verdict.ACCEPTED if outcome.bank_transaction_id:
            return Move(State.ACCEPTED, outcome.code)
        case Verdict.REJECTED:
            return Move(State.REJECTED, outcome.code)
        case Verdict.CONFLICT:
            return Move(State.MANUAL_REVIEW, outcome.code or "bank-answer-conflicts")
        case Verdict.NOT_SENT | Verdict.REFUSED_CREDENTIALS:
            # The bank executed nothing now. Whether it did before is not answered by that: back to the start
            # only if no POST of this transfer can ever have reached it.
            untouched = state is State.SUBMITTING and posts == 0
            return Move(State.READY if untouched else State.UNKNOWN, outcome.code, pause)
        case Verdict.ACCEPTED | Verdict.UNKNOWN | Verdict.ABSENT:
            # An acceptance without an id, or an absence that nobody asked for, proves nothing.
            return Move(State.UNKNOWN, outcome.code, pause)
        case _:
            assert_never(outcome.verdict)


def after_look_up(outcome: Outcome, sent: Sent, rules: Rules, now: datetime) -> Move | SendAgain:
    """What a look-up means for an unknown transfer. `now` is the database's clock."""
    match outcome.verdict:
        case Verdict.ACCEPTED if outcome.bank_transaction_id:
            return Move(State.ACCEPTED, outcome.code)
        case Verdict.CONFLICT:
            return Move(State.MANUAL_REVIEW, outcome.code or "bank-evidence-conflicts")
        case Verdict.ABSENT:
            return _not_found(outcome, sent, rules, now)
        case Verdict.UNKNOWN if not rules.can_look_up:
            # Nobody can be asked. Within the bank's memory, the same key is the question.
            return _not_found(outcome, sent, rules, now)
        case Verdict.ACCEPTED | Verdict.REJECTED | Verdict.NOT_SENT | Verdict.REFUSED_CREDENTIALS | Verdict.UNKNOWN:
            # The question was not answered, and asking again costs nothing: patience is twice as long.
            if now - sent.first_sent_at >= 2 * rules.patience:
                return Move(State.MANUAL_REVIEW, "bank-not-answering")
            return Move(State.UNKNOWN, outcome.code, pause_after(sent.contacts, outcome.retry_after))
        case _:
            assert_never(outcome.verdict)


def _not_found(outcome: Outcome, sent: Sent, rules: Rules, now: datetime) -> Move | SendAgain:
    """Absence now is not absence for ever: the bank may execute a request late that we gave up on."""
    if may_send_again(sent, rules, now):
        return SendAgain()
    if now - sent.first_sent_at >= rules.patience:
        return Move(State.MANUAL_REVIEW, "not-found-at-bank")
    pause = pause_after(sent.contacts, outcome.retry_after)
    until_allowed = sent.last_sent_at + rules.resend_after - now
    if until_allowed > timedelta(0):
        pause = min(pause, until_allowed)
    return Move(State.UNKNOWN, outcome.code, pause)


def may_send_again(sent: Sent, rules: Rules, now: datetime) -> bool:
    """Whether the same key and bytes may be sent again without any chance of paying twice.

    Outside the bank's memory of the key it would take them for a new payment; and a request that it is still
    executing is left to finish.
    """
    return (
        sent.posts < _POSTS_MAX
        and now - sent.first_sent_at < rules.window
        and now - sent.last_sent_at >= rules.resend_after
    )


def pause_after(contacts: int, retry_after: timedelta | None = None) -> timedelta:
    """How long to leave the bank alone after so many contacts: doubling, or as it asks."""
    doublings = min(max(contacts, 1) - 1, 12)
    pause = min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)
    return max(pause, min(retry_after or timedelta(0), _LONGEST_RETRY_AFTER))
