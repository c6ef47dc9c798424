"""The error tree. A class's docstring is its title, its status and slug are class attributes.

`Problem` is what a client may see (RFC 9457); `StartupError` is what an operator sees: one line with the mend.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class BankmirrorError(Exception):
    """Something went wrong."""

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail
        super().__init__(detail or type(self).__doc__ or "")


class StartupError(BankmirrorError):
    """The process cannot start. `detail` says what is wrong, `mend` what to do about it."""

    def __init__(self, detail: str, mend: str) -> None:
        super().__init__(detail)
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.detail}\n  mend: {self.mend}"


class Problem(BankmirrorError):
    """The request could not be answered."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    # Whether the same request may succeed later; answers with it carry Retry-After.
    retry_after_seconds: int | None = None
    # What a client should do about it, where that is more than `what_to_do` can tell from the rest.
    advice: ClassVar[str | None] = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        retry_after_seconds: int | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.headers = dict(headers or {})
        self.members = members
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds

    @classmethod
    def title(cls) -> str:
        """The problem in one phrase; the same for every occurrence."""
        return (cls.__doc__ or "").split("\n")[0].rstrip(".")

    @classmethod
    def is_retryable(cls) -> bool | None:
        """Whether the same request may succeed later; None when only the single answer can say."""
        return cls.retry_after_seconds is not None

    @classmethod
    def what_to_do(cls) -> str:
        """The advice to a client, in sentences."""
        if cls.advice is not None:
            return cls.advice
        if cls.retry_after_seconds is not None:
            return (
                f"Send the same request again after Retry-After seconds (at least {cls.retry_after_seconds}); "
                "a transfer always with the same Idempotency-Key."
            )
        return "Sending the same again will not help: change the request as detail and errors say."


class InternalError(Problem):
    """Something went wrong on our side."""

    advice = (
        "It is our mistake: report it with the problem's instance, which is in the log. A transfer may have been made: "
        "find out with the same Idempotency-Key, never with a new one."
    )


class ValidationFailed(Problem):
    """A value in the request is not acceptable."""

    status, slug = 422, "validation-failed"

    @classmethod
    def at(cls, pointer: str, detail: str) -> "ValidationFailed":
        """One error at a JSON pointer into the body (`/amount_cents`) or at a parameter's name (`limit`)."""
        return cls(f"{pointer}: {detail}", errors=[{"pointer": pointer, "detail": detail}])


class MalformedRequest(Problem):
    """The request is not valid HTTP."""

    status, slug = 400, "malformed-request"
    advice = "Sending the same again will not help: method, address, headers or framing break the rules of HTTP/1.1."


class MalformedBody(Problem):
    """The request body is not valid JSON."""

    status, slug = 400, "malformed-body"


class UriTooLong(Problem):
    """The address is too long."""

    status, slug = 414, "uri-too-long"


class UnsupportedMediaType(Problem):
    """The request body is not plain application/json in UTF-8."""

    status, slug = 415, "unsupported-media-type"


class PayloadTooLarge(Problem):
    """The request body is too large."""

    status, slug = 413, "payload-too-large"


class Unauthenticated(Problem):
    """A valid bearer token is needed."""

    status, slug = 401, "unauthenticated"
    advice = (
        "Send `Authorization: Bearer <token>` once, with a token that was given to you and is still good. For the "
        "operator: `bankmirror token create` makes one, `bankmirror token list` shows which are good."
    )


class Forbidden(Problem):
    """The token may not do this."""

    status, slug = 403, "forbidden"
    advice = (
        "The token is good, but has not the scope that `needs` names. Scopes of a token never change: ask the operator "
        "for one that has it."
    )


class TooManyRequests(Problem):
    """Too many failed attempts to authenticate."""

    status, slug, retry_after_seconds = 429, "too-many-requests", 1
    advice = (
        "What was sent is no token that is good here, and from this address, or with this token's id, that was tried "
        "too often. Look at the token before you try again, after Retry-After seconds (at least 1); a good one is let "
        "in at any time."
    )


class RateLimited(Problem):
    """The token has used up what it may ask for."""

    status, slug, retry_after_seconds = 429, "rate-limited", 1
    advice = (
        "Send the same request again after Retry-After seconds. `RateLimit` says in every answer what is left, and "
        "`RateLimit-Policy` of how much. A question that names its account and asks for few rows costs least."
    )


class NotFound(Problem):
    """There is no such thing, or it is not yours to see."""

    status, slug = 404, "not-found"


class MethodNotAllowed(Problem):
    """The resource does not take this method."""

    status, slug = 405, "method-not-allowed"


class CursorInvalid(Problem):
    """The cursor was not made by this API for this query."""

    status, slug = 400, "cursor-invalid"


class IdempotencyKeyMissing(Problem):
    """An Idempotency-Key header is needed."""

    status, slug = 400, "idempotency-key-missing"


class IdempotencyKeyInvalid(Problem):
    """The Idempotency-Key header must be 1 to 255 printable ASCII characters, sent once."""

    status, slug = 400, "idempotency-key-invalid"


class IdempotencyKeyReused(Problem):
    """This Idempotency-Key was used before with another request."""

    status, slug = 422, "idempotency-key-reused"
    advice = (
        "Nothing was sent for this request: its key belongs to an earlier one, and `differs` names where they differ. "
        "To ask about the earlier transfer, repeat that request unchanged with this key. Take a new key only for what "
        "is really another payment."
    )


class RequestInProgress(Problem):
    """The same request is being worked on; ask again shortly."""

    status, slug, retry_after_seconds = 409, "request-in-progress", 1
    advice = (
        "Send the same request with the same Idempotency-Key after Retry-After seconds (at least 1): it answers how "
        "the first one ended. Never send it under a new key: that would be a second transfer."
    )


class StateConflict(Problem):
    """The thing is in a state that does not allow this."""

    status, slug = 409, "state-conflict"


class TransferRejected(Problem):
    """The bank declined the transfer; no money moved."""

    status, slug = 422, "transfer-rejected"
    advice = (
        "No money moved, and the same request with the same Idempotency-Key will always answer this. `code` says why; "
        "once the cause is mended, send a new request under a new key."
    )


class WebhookRefused(Problem):
    """The webhook's signature is missing, wrong, or of another time."""

    status, slug = 401, "webhook-refused"
    advice = (
        "For the bank that sends it: sign the exact body with the agreed secret, and send it within five minutes. "
        "Nothing is lost by a webhook that is refused: the bank is polled anyway."
    )


class WebhooksOff(Problem):
    """Webhooks are not taken here."""

    status, slug = 503, "webhooks-off"
    advice = "For the operator: set BANKMIRROR_WEBHOOK_SECRET to the secret that the bank signs with."


class TransfersUnavailable(Problem):
    """The transfers service does not answer; the request had no effect."""

    status, slug, retry_after_seconds = 503, "transfers-unavailable", 2


class OutcomeUnknown(Problem):
    """The transfers service stopped answering; the request may have had its effect."""

    status, slug = 503, "outcome-unknown"
    advice = (
        "It may have been paid: never send it under a new key. If the request had an Idempotency-Key, send the same "
        "request with the same Idempotency-Key: that never pays twice, and answers how the transfer stands. Without a "
        "key, look at the account's activity first, and send it again only when it is not there."
    )

    @classmethod
    def is_retryable(cls) -> bool | None:
        """Only with the key that the request had; each answer says whether that is so."""
        return None


class StaleData(Problem):
    """The mirror is older than the request allows."""

    status, slug, retry_after_seconds = 503, "stale-data", 2
    advice = (
        "A younger answer was asked for, and none came in time. Send the same request again after Retry-After seconds; "
        "or wait longer (`Prefer: wait=10`), or do without `max_age` and go by `freshness`: `reason` says what keeps "
        "the mirror from being younger, and `synced_at` how old it is. Where `detail` says that the mirror is not "
        "being kept, asking sooner does not help: its operator has to look after ingest."
    )


class MomentOpen(Problem):
    """What was known at that moment is not settled yet."""

    status, slug, retry_after_seconds = 503, "moment-open", 2
    advice = (
        "A poll that began before that moment is still being stored, or none has begun since: an answer now might not "
        "be the last word. Send the same request again after Retry-After seconds (at least 2), or ask for a moment "
        "before `closed_until`. If that stands still, nothing is polled: bankmirror doctor says why."
    )


class HostRefused(Problem):
    """The request names a host that is not this machine."""

    status, slug = 421, "host-refused"
    advice = (
        "Without a token only requests that mean this machine are taken: ask 127.0.0.1 or localhost, from no page of "
        "another origin. For the operator: with tokens, any name will do."
    )


class NotAcceptable(Problem):
    """The answer has no form that the request accepts."""

    status, slug = 406, "not-acceptable"
    advice = (
        "Accept one of the forms in detail; application/json is always good. An MCP client sends "
        "`Accept: application/json, text/event-stream`."
    )


class TooManyStreams(Problem):
    """There are too many streams already."""

    status, slug, retry_after_seconds = 429, "too-many-streams", 5
    advice = (
        "Close streams that nobody reads; one is enough for any number of accounts. Then open it again after "
        "Retry-After seconds (at least 5), or ask `/banking/changes` with the last cursor now and then: when nothing "
        "changed, that costs little."
    )


class StreamEnded(Problem):
    """The stream ends because the process does."""

    status, slug, retry_after_seconds = 503, "stream-ended", 1
    advice = (
        "Open the stream again after Retry-After seconds (at least 1), with the last event's id as `Last-Event-ID`: it "
        "goes on from there."
    )


class DatabaseUnavailable(Problem):
    """The database does not answer."""

    status, slug, retry_after_seconds = 503, "database-unavailable", 2


class QueryTimeout(Problem):
    """The question took too long to answer; ask a narrower one."""

    status, slug, retry_after_seconds = 503, "query-timeout", 5


class Overloaded(Problem):
    """Too many requests at once."""

    status, slug, retry_after_seconds = 503, "overloaded", 1


def problem_types() -> dict[str, type[Problem]]:
    """Every documented problem type by slug."""
    found: dict[str, type[Problem]] = {Problem.slug: InternalError}
    for subclass in Problem.__subclasses__():
        found[subclass.slug] = subclass
    return found
