"""How often a feed is asked, and what a limit on requests allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import pace
from ingest.pace import allow, circuit_seconds, make_pace

SECONDS = st.floats(0, 1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("silent_seconds", "interval"),
    [
        (0, 30.0),  # It just changed, or is being read.
        (600, 30.0),  # Ten minutes of silence are nothing.
        (1_200, 60.0),
        (3_600, 180.0),  # After an hour, what happens is seen within three minutes.
        (6_000, 300.0),
        (86_400, 300.0),  # And never later than this.
    ],
)
def test_what_sleeps_is_asked_less(silent_seconds: float, interval: float) -> None:
    """The pause is a twentieth of the silence, between the quick pace and ten times it."""
    assert make_pace(30, None).interval(silent_seconds) == pytest.approx(interval)


@given(quick=st.floats(0.1, 86_400), slow=st.none() | st.floats(0.1, 86_400), silences=st.tuples(SECONDS, SECONDS))
def test_the_pace_stays_within_its_bounds(quick: float, slow: float | None, silences: tuple[float, float]) -> None:
    """Never quicker than the quick pace nor slower than the slow one, and a longer silence never makes it quicker."""
    rule = make_pace(quick, slow)
    shorter, longer = sorted(silences)

    assert rule.quick_seconds == quick <= rule.interval(shorter) <= rule.interval(longer) <= rule.slow_seconds
    assert rule.interval(0) == quick


def test_one_pace_for_all_where_it_is_asked_for() -> None:
    """A slow pace below the quick one is the quick one."""
    assert make_pace(30, 30).interval(1e9) == make_pace(30, 5).interval(1e9) == 30


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, None), (4, None), (5, 60), (6, 120), (9, 960), (11, 3600), (1_000_000, 3600)]
)
def test_t51_a_sick_account_is_tried_less_and_less(failures: int, seconds: float | None) -> None:
    """From the fifth failure on the pause doubles, to an hour at most; not all come back in step."""
    assert circuit_seconds(failures, jitter=1.0) == seconds
    early = circuit_seconds(failures, jitter=0.0)
    assert early == (None if seconds is None else seconds * 0.75)


@given(st.integers(pace.REQUESTS_PER_MINUTE_MIN, 100_000))
def test_a_minute_never_has_more_requests_than_the_limit(limit: int) -> None:
    """The most that can be used in a minute: full parts, what flows in, and permits that were taken just before it."""
    allowance = allow(limit)

    most = allowance.reserved_cap + allowance.open_cap
    most += (allowance.reserved_rate + allowance.open_rate) * (60 + pace.PERMIT_SECONDS)
    assert most <= limit * (1 + 1e-9)
    assert min(allowance.reserved_cap, allowance.open_cap) >= 1
    assert min(allowance.reserved_rate, allowance.open_rate) > 0


@given(st.integers(100, 100_000))
def test_t49_a_fifth_is_set_aside(limit: int) -> None:
    """Transactions can take four fifths of what flows in, and no more."""
    allowance = allow(limit)

    assert allowance.reserved_rate / (allowance.reserved_rate + allowance.open_rate) == pytest.approx(0.2)
    assert allowance.permits_at_once(reserved=False) <= max(1, allowance.open_rate)
