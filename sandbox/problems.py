"""Errors: a small tree, the docstring is the title, one place renders them as RFC 9457 problem+json."""

import json
from http import HTTPStatus
from typing import Any, ClassVar

from starlette.responses import Response


class Problem(Exception):
    """Something the client can be told about."""

    status: ClassVar[int] = 400
    slug: ClassVar[str] = "bad-request"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra

    def headers(self) -> dict[str, str]:
        """Headers that belong to this problem."""
        return {}


class MalformedRequest(Problem):
    """The request cannot be read."""

    status, slug = 400, "malformed-request"


class CursorInvalid(Problem):
    """The cursor is not one this bank gave out for this list."""

    status, slug = 400, "cursor-invalid"


class IdempotencyKeyMissing(Problem):
    """A payment needs an Idempotency-Key header."""

    status, slug = 400, "idempotency-key-missing"


class IdempotencyKeyInvalid(Problem):
    """The Idempotency-Key is 1 to 255 printable ASCII characters, sent once."""

    status, slug = 400, "idempotency-key-invalid"


class Unauthenticated(Problem):
    """The bearer token is missing or unknown."""

    status, slug = 401, "unauthenticated"

    def headers(self) -> dict[str, str]:
        """RFC 9110 asks for the scheme."""
        return {"WWW-Authenticate": "Bearer"}


class NotFound(Problem):
    """There is no such thing here."""

    status, slug = 404, "not-found"


class RequestInProgress(Problem):
    """A request with this key is being processed."""

    status, slug, retryable = 409, "request-in-progress", True


class MutationDuringPagination(Problem):
    """The feed moved while it was being paged: begin again from the loop's first cursor."""

    status, slug, retryable = 409, "mutation-during-pagination", True


class CursorExpired(Problem):
    """The feed was reset after this cursor was given out: begin again without one."""

    status, slug = 410, "cursor-expired"


class AccountGone(Problem):
    """The account was closed, and nothing more is told of it."""

    status, slug = 410, "account-gone"


class NothingToChange(Problem):
    """The books hold nothing that this event could happen to."""

    status, slug = 409, "nothing-to-change"


class PayloadTooLarge(Problem):
    """The body is larger than this bank reads."""

    status, slug = 413, "payload-too-large"


class UnsupportedMediaType(Problem):
    """Bodies are application/json."""

    status, slug = 415, "unsupported-media-type"


class ValidationFailed(Problem):
    """The request is well formed but not valid."""

    status, slug = 422, "validation-failed"


class IdempotencyKeyReused(Problem):
    """This key was used with another body."""

    status, slug = 422, "idempotency-key-reused"


class RateLimited(Problem):
    """Too many requests."""

    status, slug, retryable = 429, "rate-limited", True

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"Try again in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds

    def headers(self) -> dict[str, str]:
        """Whole seconds, at least one."""
        return {"Retry-After": str(self.retry_after_seconds)}


class DatabaseUnavailable(Problem):
    """The bank's own database does not answer."""

    status, slug, retryable = 503, "database-unavailable", True

    def headers(self) -> dict[str, str]:
        """A restart takes about a second."""
        return {"Retry-After": "1"}


class Declined(Problem):
    """The bank does not make this payment; nothing moved, and the key remembers that."""

    status, slug = 422, "declined"


class AmountInvalid(Declined):
    """The amount must be a positive number of minor units below 10^15."""

    slug = "amount-invalid"


class SameAccount(Declined):
    """Source and destination are the same account."""

    slug = "same-account"


class AccountNotFound(Declined):
    """An account of this payment is not held at this bank."""

    slug = "account-not-found"


class AccountClosed(Declined):
    """An account of this payment is closed."""

    slug = "account-closed"


class CurrencyMismatch(Declined):
    """The currencies of the order and of both accounts must be one."""

    slug = "currency-mismatch"


class InsufficientFunds(Declined):
    """The source account has less available than this."""

    slug = "insufficient-funds"


def body(problem: Problem) -> str:
    """The problem as JSON, in ASCII: what a client sent may hold characters that UTF-8 cannot."""
    title = (type(problem).__doc__ or "").strip()
    members = {"type": f"/problems/{problem.slug}", "title": title, "status": problem.status}
    return json.dumps(members | {"detail": problem.detail or title, "retryable": problem.retryable} | problem.extra)


def response(problem: Problem) -> Response:
    """The problem as an HTTP response."""
    return Response(body(problem), problem.status, problem.headers(), "application/problem+json")


def plain(status: int, detail: str = "", headers: dict[str, str] | None = None) -> Response:
    """A problem of the protocol itself (404 of an unknown path, 405, 500), named after its status."""
    title = HTTPStatus(status).phrase
    slug = "internal" if status == 500 else title.lower().replace(" ", "-")
    members = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail or title}
    return Response(json.dumps(members | {"retryable": status >= 500}), status, headers, "application/problem+json")
