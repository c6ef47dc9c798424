"""Quotas hold exactly in one process, and over several as soon as they have heard of each other."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import RateLimited
from kernel.limits import Budget, Use


def start_of_minute() -> float:
    """A moment of the steady clock, half a second after a minute of the wall clock, and no day, began: the clocks are
    compared anew by each meter, and whole seconds are told, so that half of one is the furthest from any edge.
    """
    offset = time.time() - time.monotonic()
    minute = time.time() // 60 * 60
    return (minute if (minute + 120) % 86_400 > 240 else minute + 300) - offset + 0.5


def test_as_many_as_allowed_and_again_in_the_next_minute() -> None:
    """Not one more, and the count begins anew."""
    budget, now = Budget(3, 1_000), start_of_minute()

    assert [budget.spend(now + second) for second in range(5)] == [True, True, True, False, False]
    assert budget.spend(now + 60)


def test_bytes_of_a_day() -> None:
    """The answer that goes over is given; none after it until tomorrow."""
    budget, now = Budget(100, 1_000), start_of_minute()
    assert budget.spend(now)
    budget.bytes.left -= 1_500

    assert not budget.has_bytes(now)
    assert not budget.spend(now + 1)
    assert not budget.spend(now + 61)
    told = budget.over()
    assert isinstance(told, RateLimited)
    assert told.detail == "this token may ask for 1000 bytes a day"
    assert 60 < (told.retry_after_seconds or 0) <= 86_400
    assert budget.has_bytes(now + 86_400), "what goes on over midnight has those of the new day"
    assert budget.spend(now + 86_400)


def test_what_a_caller_is_told() -> None:
    """The policy, what is left of both, and for how long."""
    budget, now = Budget(600, 1_000_000), start_of_minute()
    budget.spend(now)
    policy, state = budget.headers()
    assert budget.lines() == b"".join(b"%s: %s\r\n" % header for header in (policy, state))

    assert policy == (b"ratelimit-policy", b'"read";q=600;w=60, "bytes";q=1000000;w=86400;qu="content-bytes"')
    assert state[0] == b"ratelimit"
    assert state[1].startswith(b'"read";r=599;t=60, "bytes";r=1000000;t=')
    assert 60 < int(state[1].rpartition(b"=")[2]) <= 86_400
    budget.bytes.left -= 950_000
    budget.spend(now + 48)
    assert budget.headers()[1][1].startswith(b'"read";r=598;t=12, "bytes";r=50000;t=')


def test_what_is_used_up_says_until_when() -> None:
    """Retry-After is the end of the minute."""
    budget, now = Budget(1, 1_000), start_of_minute()
    assert [budget.spend(now + 20), budget.spend(now + 20)] == [True, False]

    assert budget.over().retry_after_seconds == 40
    assert budget.headers()[1][1].startswith(b'"read";r=0;t=40, "bytes";r=1000;t=')
    budget.bytes.left -= 1_500
    assert b'"bytes";r=0;t=' in budget.headers()[1][1]


class Shared:
    """What `access.spend` does, for one token."""

    def __init__(self) -> None:
        self.use = Use(0, 0, 0, 0)

    def tell(self, told: Use) -> Use:
        """Add what one process used; what all have."""
        kept = self.use
        requests = kept.requests * (told.minute == kept.minute) + told.requests
        count = kept.bytes * (told.day == kept.day) + told.bytes
        self.use = Use(told.minute, requests, told.day, count)
        return self.use


def tell(budget: Budget, shared: Shared) -> None:
    """One round of one process."""
    if (told := budget.untold()) is not None:
        budget.learn(told, shared.tell(told))


@given(steps=st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["ask", "ask", "tell"])), max_size=200))
def test_several_processes_share_a_quota(steps: list[tuple[int, str]]) -> None:
    """Whatever the order: nothing is counted twice, and who was told of all use refuses when it is used up."""
    now, quota, shared = start_of_minute(), 20, Shared()
    budgets = [Budget(quota, 1_000) for _ in range(3)]
    given_out = 0
    for number, step in steps:
        if step == "ask":
            given_out += budgets[number].spend(now)
        else:
            tell(budgets[number], shared)
    for budget in budgets:
        tell(budget, shared)

    assert shared.use.requests == given_out
    # Whoever asks the database now learns of everybody.
    last = Budget(quota, 1_000)
    if last.spend(now):
        tell(last, shared)
        assert last.requests.left == quota - given_out - 1


def test_what_was_told_of_an_earlier_minute_changes_nothing() -> None:
    """An answer that comes late is of another window."""
    budget, now = Budget(5, 1_000), start_of_minute()
    budget.spend(now)
    told = budget.untold()
    assert told is not None
    budget.spend(now + 60)

    budget.learn(told, told._replace(requests=500))

    assert budget.requests.left == 4


@pytest.mark.parametrize("others", [3, 300])
def test_what_others_used_counts(others: int) -> None:
    """From the next round on, also when it is more than the quota."""
    budget, now = Budget(5, 1_000), start_of_minute()
    budget.spend(now)
    told = budget.untold()
    assert told is not None

    budget.learn(told, told._replace(requests=told.requests + others))

    assert budget.spend(now) is (others == 3)
    assert budget.untold() == (told if others == 3 else None)
