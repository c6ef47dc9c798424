"""One answer as it goes out: its bytes, and the headers that say how old they are at the moment of going."""

import hashlib

from readapi.answers import Keep

Headers = list[tuple[bytes, bytes]]
# What makes two requests the same question: who may see what (Pass.scope_key), path, query, and the form (Accept).
Key = tuple[int, bytes, bytes, bytes | None]

# Seconds that an answer is kept at most: a report's "today" moves, and people change databases by hand.
KEPT_SECONDS_MAX = 60.0
# One that is not fresh says since when; whatever mends it is to be seen at once, even if nothing is heard of it.
KEPT_SECONDS_UNFRESH = 1.0
# The database rounds seconds to whole ones.
ROUNDING_SECONDS = 0.5
# Bytes of the longest Accept that an answer is kept or shared for: it is part of the key, and anybody can make one up.
ACCEPT_BYTES = 256
# What an answer takes in memory beside its body and its key: objects, headers, a place in the indexes.
OVERHEAD_BYTES = 3_000
# A year, which is as good as for ever to a cache.
SETTLED = b"private, max-age=31536000, immutable"
VARY = (b"vary", b"Accept, Authorization")
# These are said anew each time.
_OF_THE_MOMENT = frozenset({b"age", b"cache-control", b"content-length", b"etag", b"preference-applied", b"vary"})


class RouteCount:
    """Answers of a route that were given from memory, to be counted without a look-up."""

    __slots__ = ("get", "head", "not_modified")

    def __init__(self) -> None:
        self.get = 0
        self.head = 0
        self.not_modified = 0


class Entry:
    """An answer, made at the moment `began` of the event loop's clock or later."""

    __slots__ = (
        "_confirmed", "_fresh_until", "_full", "_full_head", "_has_age", "_lasting", "_second", "_settled",
        "_unchanged", "_unchanged_head", "_zero",
        "accounts", "began", "body", "count", "etag", "key", "result_hash", "size", "target", "until", "used",
        "version",
    )  # fmt: skip

    def __init__(
        self, key: Key, keep: Keep, began: float, headers: Headers, body: bytes, count: RouteCount, most_age: int | None
    ) -> None:
        """`headers` are those that the answer came with, `most_age` what the query allows, in seconds."""
        self.key = key
        _, path, query, accept = key
        self.target = path + b"?" + query if query else path
        self.accounts = keep.accounts
        self.body = body
        self.etag = keep.etag
        self.version = keep.version
        self.result_hash = hashlib.sha256(body).digest()
        self.count = count
        # From before the question: a little older than the answer is, and never younger.
        began = began if keep.asked_at is None else keep.asked_at
        self.began = began
        self.until = began + _kept_seconds(keep, most_age)
        # Set by each use, cleared by each look for something to evict.
        self.used = False
        self._settled = keep.settled
        self._has_age = not keep.settled and keep.age_seconds is not None
        # When the bank confirmed it.
        self._zero = began - (keep.age_seconds or 0)
        self._fresh_until = began + (keep.fresh_seconds or 0)
        self._lasting: Headers = [
            *((name, value) for name, value in headers if name not in _OF_THE_MOMENT),
            (b"content-length", b"%d" % len(body)),
            (b"x-content-type-options", b"nosniff"),
        ]
        self._confirmed: Headers = [item for item in headers if item[0].startswith(b"bankmirror-")]
        # Path and query are there twice, in the key and as the target.
        spoken = 2 * len(self.target) + len(accept or b"") + sum(len(name) + len(value) for name, value in headers)
        self.size = OVERHEAD_BYTES + len(body) + spoken
        self._second = -1
        self._full: Headers = []
        self._unchanged: Headers = []
        self._full_head = b""
        self._unchanged_head = b""

    def is_older(self, now: float, seconds: int) -> bool:
        """Whether the bank confirmed it longer ago than so many seconds; what is settled does not age."""
        return not self._settled and (not self._has_age or now - self._zero > seconds)

    def headers(self, now: float, *, unchanged: bool) -> Headers:
        """The headers of a 200, or of a 304, at this moment. Not to be changed: they are made once a second."""
        if int(now - self._zero) != self._second:
            self._make(now)
        return self._unchanged if unchanged else self._full

    def head(self, now: float, *, unchanged: bool) -> bytes:
        """The same as they are written, behind the status line."""
        if int(now - self._zero) != self._second:
            self._make(now)
        return self._unchanged_head if unchanged else self._full_head

    def _make(self, now: float) -> None:
        self._second = int(now - self._zero)
        said = self._of_the_moment(now)
        self._full = [*self._lasting, *said]
        self._unchanged = [*said, *self._confirmed]
        self._full_head = b"HTTP/1.1 200 OK\r\n" + written(self._full)
        self._unchanged_head = b"HTTP/1.1 304 Not Modified\r\n" + written(self._unchanged)

    def _of_the_moment(self, now: float) -> Headers:
        if self._settled:
            return [(b"cache-control", SETTLED), (b"etag", self.etag), VARY]
        # A cache that goes by the letter counts Age against max-age, and so forgets an answer early. One that
        # ignores Age must not keep it beyond its fresh_until.
        fresh_seconds = max(0, int(self._fresh_until - now))
        said = [(b"cache-control", b"private, max-age=%d" % fresh_seconds), (b"etag", self.etag), VARY]
        return [*said, (b"age", b"%d" % max(0, self._second))] if self._has_age else said


def written(headers: Headers) -> bytes:
    """Headers as they go over the wire. Raises ValueError where one would end its line, and begin another header."""
    lines = b"".join([b"%s: %s\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        raise ValueError("a header with a line break")
    return lines


def _kept_seconds(keep: Keep, most_age: int | None) -> float:
    if keep.settled:
        return KEPT_SECONDS_MAX
    if keep.fresh_seconds is None or keep.fresh_seconds < 0:
        seconds = KEPT_SECONDS_UNFRESH
    else:
        # Below zero where it is about to turn: then it is not kept at all, or it would be called fresh when it is not.
        seconds = min(keep.fresh_seconds - ROUNDING_SECONDS, KEPT_SECONDS_MAX)
    if most_age is not None:
        # An answer without an age is older than any limit.
        seconds = min(seconds, most_age - (most_age if keep.age_seconds is None else keep.age_seconds))
    return seconds
