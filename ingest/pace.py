"""How often a feed is asked, how a sick one is left alone, and what a bank's request limit allows. Pure.

All spans are in seconds. What the rules need to know of the past comes from the database, by its clock.
"""

from typing import NamedTuple

# A feed that was silent for a while is asked again after this share of its silence. So what happens then is seen
# late by a small part of the time in which nothing did, and a feed that wakes up is quick at once.
SILENCE_SHARE = 1 / 20
# Where nobody says how slow the slowest feed may be: ten times fewer requests for what sleeps is most of what
# slowing down can save, and at the default pace the wait is still five minutes and not an hour.
SLOW_FACTOR = 10.0

# Failures in a row, while the bank answers for others, after which an account's feed is only probed.
CIRCUIT_FAILURES = 5
# The first pause of an open circuit, which then doubles, and the longest.
CIRCUIT_SECONDS_MIN = 60.0
CIRCUIT_SECONDS_MAX = 3600.0

# A bank that says 429 without naming a pause is left alone for a second, then twice as long each time.
THROTTLED_SECONDS_MIN = 1.0
THROTTLED_SECONDS_MAX = 60.0
# Pauses further apart than this have nothing to do with each other.
THROTTLED_MEMORY_SECONDS = 60.0

# The share of a bank's request limit that transactions cannot take from accounts and balances.
RESERVED_SHARE = 0.2
# Requests that may be made at once after a while without any, as a share of a minute's.
BURST_SHARE = 0.05
# A process takes permits for so long at once. Longer would leave them with a process that needs none.
PERMIT_SECONDS = 1.0
# The least limit that leaves both kinds a permit now and then.
REQUESTS_PER_MINUTE_MIN = 6


class Pace(NamedTuple):
    """The least and the greatest pause between two polls of a feed."""

    quick_seconds: float
    slow_seconds: float

    def interval(self, silent_seconds: float) -> float:
        """The pause after a complete poll, when the feed neither changed nor was read for so long."""
        return min(max(silent_seconds * SILENCE_SHARE, self.quick_seconds), self.slow_seconds)


def make_pace(quick_seconds: float, slow_seconds: float | None) -> Pace:
    """The pace that the settings ask for; the slow one is never quicker than the quick one."""
    slow = quick_seconds * SLOW_FACTOR if slow_seconds is None else slow_seconds
    return Pace(quick_seconds, max(quick_seconds, slow))


def circuit_seconds(failures: int, jitter: float) -> float | None:
    """How long a sick account's feed rests after its `failures`-th failure in a row; None while it is tried as usual.

    `jitter` is between 0 and 1: a thousand accounts that fell ill together are not probed together.
    """
    if failures < CIRCUIT_FAILURES:
        return None
    pause = min(CIRCUIT_SECONDS_MAX, CIRCUIT_SECONDS_MIN * 2.0 ** min(failures - CIRCUIT_FAILURES, 16))
    return pause * (0.75 + 0.25 * jitter)


class Allowance(NamedTuple):
    """A bank's limit as a bucket of permits that fills with time: one part for accounts and balances, one for the rest.

    In any minute, all processes together make at most as many requests as the limit allows: what the bucket holds at
    first, and what flows in during the minute and the second for which a process may keep a permit.
    """

    reserved_cap: float
    open_cap: float
    reserved_rate: float
    open_rate: float

    def permits_at_once(self, *, reserved: bool) -> int:
        """How many permits a process takes together, so that a quick backfill does not ask for each."""
        return max(1, int((self.reserved_rate if reserved else self.open_rate) * PERMIT_SECONDS))


def allow(requests_per_minute: int) -> Allowance:
    """The bucket for a limit of at least REQUESTS_PER_MINUTE_MIN."""
    burst = requests_per_minute * BURST_SHARE
    # Less than one permit could never be taken.
    reserved_cap = max(1.0, burst * RESERVED_SHARE)
    open_cap = max(1.0, burst * (1 - RESERVED_SHARE))
    rate = (requests_per_minute - reserved_cap - open_cap) / (60 + PERMIT_SECONDS)
    return Allowance(reserved_cap, open_cap, rate * RESERVED_SHARE, rate * (1 - RESERVED_SHARE))
