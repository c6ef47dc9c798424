"""What one token may ask for: requests in a minute and bytes in a day, in windows of the wall clock.

A process counts at once by itself, tells the database about once a second what it has counted, and learns what the
others have. In between they do not know of each other, so a token may get a second's worth too much from each, but
never more than its limit from one. The headers are those of draft-ietf-httpapi-ratelimit-headers.
"""

import math
import time
from typing import NamedTuple

from kernel.errors import Problem, RateLimited

_MINUTE = 60
_DAY = 86_400

Header = tuple[bytes, bytes]


class Use(NamedTuple):
    """What a process has counted of a token: requests in a minute since 1970, bytes in a day since 1970."""

    minute: int
    requests: int
    day: int
    bytes: int


class Meter:
    """One quota in windows of so many seconds. `left` is all that is touched while the window lasts."""

    __slots__ = ("_begun_with", "_offset", "_others", "_told", "ends", "left", "quota", "seconds", "window")

    def __init__(self, quota: int, seconds: int) -> None:
        self.quota = quota
        self.seconds = seconds
        # Between the steady clock, which we go by, and the wall clock, which divides time into windows.
        self._offset = time.time() - time.monotonic()
        self.window = -1
        self.ends = 0.0
        self.left = quota
        # What was left when the window began, less what others have used; of ours the database has `_told`.
        self._begun_with = quota
        self._told = 0
        self._others = 0

    def turn(self, now: float) -> None:
        """Begin the window that holds `now`, in seconds of the steady clock."""
        window = int((now + self._offset) // self.seconds)
        self.ends = (window + 1) * self.seconds - self._offset
        if window != self.window:
            self.window = window
            self.left = self._begun_with = self.quota
            self._told = self._others = 0

    @property
    def untold(self) -> int:
        """What was used since the database was told."""
        return self._begun_with - self.left - self._told

    def learn(self, window: int, told: int, total: int) -> None:
        """The database took `told` of ours, and with it `total` of all processes were used in the window."""
        if window != self.window:
            return
        self._told += told
        others = total - self._told
        self.left -= others - self._others
        self._begun_with -= others - self._others
        self._others = others


class Budget:
    """Both quotas of a token."""

    __slots__ = ("_now", "_policy", "bytes", "requests")

    def __init__(self, requests_per_minute: int, bytes_per_day: int) -> None:
        self.requests = Meter(requests_per_minute, _MINUTE)
        self.bytes = Meter(bytes_per_day, _DAY)
        self._policy = (
            b"ratelimit-policy",
            b'"read";q=%d;w=%d, "bytes";q=%d;w=%d;qu="content-bytes"'
            % (requests_per_minute, _MINUTE, bytes_per_day, _DAY),
        )
        self._now = 0.0

    def spend(self, now: float) -> bool:
        """Take one request, unless a quota is used up. `now` is in seconds of the steady clock."""
        requests, traffic = self.requests, self.bytes
        if now >= requests.ends:
            requests.turn(now)
            traffic.turn(now)
        self._now = now
        if requests.left <= 0 or traffic.left <= 0:
            return False
        requests.left -= 1
        return True

    def has_bytes(self, now: float) -> bool:
        """Whether there are bytes left in the day that holds `now`, in seconds of the steady clock."""
        if now >= self.bytes.ends:
            self.bytes.turn(now)
        self._now = now
        return self.bytes.left > 0

    def over(self) -> Problem:
        """Why nothing is given now, and until when; the longer wait if both are used up."""
        meter, of_what = (self.bytes, "bytes a day") if self.bytes.left <= 0 else (self.requests, "requests a minute")
        return RateLimited(
            f"this token may ask for {meter.quota} {of_what}",
            retry_after_seconds=self._seconds_left(meter),
        )

    def headers(self) -> list[Header]:
        """RateLimit-Policy and RateLimit, as of the last request."""
        return [self._policy, (b"ratelimit", self._state())]

    def lines(self) -> bytes:
        """The same as they are written."""
        return b"%s: %s\r\nratelimit: %s\r\n" % (*self._policy, self._state())

    def _state(self) -> bytes:
        requests, traffic = self.requests, self.bytes
        # Written out, because each answer from memory comes by here and takes little more than this in all.
        left, left_bytes, now = requests.left, traffic.left, self._now
        return b'"read";r=%d;t=%d, "bytes";r=%d;t=%d' % (
            left if left > 0 else 0,
            int(requests.ends - now) + 1,
            left_bytes if left_bytes > 0 else 0,
            int(traffic.ends - now) + 1,
        )

    def untold(self) -> Use | None:
        """What the database does not know of yet; None when it knows all."""
        requests, traffic = self.requests.untold, self.bytes.untold
        if not requests and not traffic:
            return None
        return Use(self.requests.window, requests, self.bytes.window, traffic)

    def learn(self, told: Use, total: Use) -> None:
        """What the database answered: it has `told` now, and all processes together have used `total`."""
        if total.minute == told.minute:
            self.requests.learn(told.minute, told.requests, total.requests)
        if total.day == told.day:
            self.bytes.learn(told.day, told.bytes, total.bytes)

    def _seconds_left(self, meter: Meter) -> int:
        return max(1, math.ceil(meter.ends - self._now))
