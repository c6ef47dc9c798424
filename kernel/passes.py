"""What a door knows of callers: whom a token belongs to, for how long that is sure, and what it may still ask for."""

import time
from typing import NamedTuple

from kernel.caller import Caller
from kernel.errors import Problem
from kernel.limits import Budget, Header

# Seconds that a token is taken for good after the database said so. Were it revoked since and we not told, it is
# refused within these; and no longer do we go on by ourselves when the database is away.
TRUST_SECONDS = 4.0


class StoredToken(NamedTuple):
    """A token as `access.token` describes it; `expires_in` is in seconds by the clock of the database, None: never."""

    token_id: str
    principal: str
    name: str
    environment: str
    digest: bytes
    scopes: list[str]
    accounts: list[str] | None
    requests_per_minute: int
    bytes_per_day: int
    revoked: bool
    expires_in: float | None


class Pass:
    """A caller who was let in. Times are seconds of the steady clock."""

    __slots__ = ("budget", "caller", "confirmed_at", "good_until", "scope_key", "stored", "used")

    def __init__(
        self, caller: Caller, scope_key: int, stored: StoredToken | None = None, budget: Budget | None = None
    ) -> None:
        self.caller = caller
        # Equal for callers who may see the same.
        self.scope_key = scope_key
        # None for a caller whom only the settings know; and without a budget there is no limit.
        self.stored = stored
        self.budget = budget
        self.good_until = float("inf")
        self.confirmed_at = 0.0
        # Since it was looked up last.
        self.used = False

    def is_good(self) -> bool:
        """Whether it may still be gone by. What goes on for long, as a stream does, asks now and then."""
        return time.monotonic() < self.good_until

    def spend(self, now: float) -> bool:
        """Take one request; False when the token has used up what it may ask for."""
        return self.budget is None or self.budget.spend(now)

    def add_bytes(self, count: int) -> None:
        """So many bytes of content were sent."""
        if self.budget is not None:
            self.budget.bytes.left -= count

    def has_bytes(self, now: float) -> bool:
        """Whether it may be sent more of what it has asked for already."""
        return self.budget is None or self.budget.has_bytes(now)

    def over(self) -> Problem:
        """What a caller is told when there is nothing left to spend."""
        assert self.budget is not None, "who has no budget is never over it"
        return self.budget.over()

    def limit_headers(self) -> list[Header]:
        """The RateLimit headers of this answer; none without a limit."""
        return [] if self.budget is None else self.budget.headers()

    def limit_lines(self) -> bytes:
        """The same as they are written."""
        return b"" if self.budget is None else self.budget.lines()

    def confirm(self, stored: StoredToken, asked_at: float, trust_seconds: float) -> None:
        """The database says that nothing has changed; it was asked at this moment."""
        # How long it still lives was counted after we asked, so this ends early by the way there, and never late.
        seconds = trust_seconds if stored.expires_in is None else min(trust_seconds, stored.expires_in)
        self.good_until = asked_at + seconds
        self.confirmed_at = asked_at

    def is_still(self, stored: StoredToken | None) -> bool:
        """Whether this is what the pass was made of. Only the time that is left may differ."""
        return stored is not None and self.stored is not None and stored[:-1] == self.stored[:-1]
