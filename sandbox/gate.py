"""The bank's door, before any endpoint: who are you, not so fast, and nothing that no endpoint could use."""

import hmac
import math
import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import problems

# /health is for supervisors, which have no key.
_OPEN_PATHS: Final = frozenset({"/health"})


class TokenBucket:
    """Lets `per_second` calls through, with a burst of one second's worth. 0 lets everything through."""

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = max(per_second, 1.0)
        self._tokens = self._burst
        self._now = now
        self._filled_at = now()

    def take(self) -> float:
        """0 if the call may go on; otherwise in how many seconds it may."""
        if not self._per_second:
            return 0.0
        now = self._now()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._per_second


class Gate:
    """ASGI middleware. There is one API key and so one bucket."""

    def __init__(self, app: ASGIApp, *, api_key: str, rate_limit_per_second: float) -> None:
        self._app = app
        self._authorization = f"bearer {api_key}".encode()
        self._bucket = TokenBucket(rate_limit_per_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            try:
                self._check(scope)
            except problems.Problem as problem:
                await problems.response(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        values = Headers(scope=scope).getlist("authorization")
        scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        given = f"{scheme.lower()} {token}".encode("latin-1")
        if not hmac.compare_digest(given, self._authorization):
            raise problems.Unauthenticated
        wait_seconds = self._bucket.take()
        if wait_seconds:
            raise problems.RateLimited(max(1, math.ceil(wait_seconds)))
        # PostgreSQL's text cannot hold it, so no id, reference or cursor has it.
        if "\x00" in scope["path"] or b"%00" in scope["query_string"] or b"\x00" in scope["query_string"]:
            raise problems.MalformedRequest("NUL is in no identifier of this bank.")
