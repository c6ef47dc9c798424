"""Faults that come instead of the bank's answer: no answer, errors, throttling, and answers of somebody else."""

import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Final

from sandbox import problems
from sandbox.chaos.acts import LISTS, Ending, Fault, Instead, Options, Reply, Route

HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>Scheduled maintenance</title></head><body>Back soon.</body></html>\n"
)
_PROBLEM: Final = ("Content-Type", "application/problem+json")
_ACCOUNT: Final[frozenset[Route]] = frozenset({"account", "balance", "transactions"})
_FEED: Final[frozenset[Route]] = frozenset({"changes"})
# Packed, a thousandth of it. Runs of one byte repeat as often as is asked for, and nothing is held in memory.
_BOMB_BLOCK_BYTES: Final = 1 << 20


def body_reply(status: int, body: bytes, *headers: tuple[str, str]) -> Reply:
    """A complete answer."""
    return Reply(status, headers, (body,), length=len(body))


def problem_reply(problem: problems.Problem) -> Reply:
    """One of the bank's own problems."""
    return body_reply(problem.status, problems.body(problem).encode(), _PROBLEM, *problem.headers().items())


def gzip_bomb(unpacked_bytes: int) -> Iterator[bytes]:
    """A valid gzip stream of a valid JSON list with blanks in it, made while it is sent. About a thousandth as long."""
    head, tail = b'{"data":[],"next_cursor":null', b"}"
    blanks = b" " * _BOMB_BLOCK_BYTES
    pack = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    yield pack.compress(head) + pack.flush(zlib.Z_FULL_FLUSH)
    left = max(unpacked_bytes - len(head) - len(tail), 0)
    while left >= _BOMB_BLOCK_BYTES:
        yield pack.compress(blanks) + pack.flush(zlib.Z_SYNC_FLUSH)
        left -= _BOMB_BLOCK_BYTES
    yield pack.compress(blanks[:left] + tail) + pack.flush()


def _error(status: int) -> Callable[[Options], Reply]:
    def reply(options: Options) -> Reply:
        after = () if options.retry_after is None else (("Retry-After", options.retry_after),)
        if status in (502, 504):
            # Whatever stands before a bank says this, and it does not speak JSON.
            text = f"<html><body><h1>{status} {HTTPStatus(status).phrase}</h1></body></html>".encode()
            return body_reply(status, text, ("Content-Type", "text/html"), *after)
        title = HTTPStatus(status).phrase if status != 520 else "Web Server Returned an Unknown Error"
        text = f'{{"type":"about:blank","title":"{title}","status":{status}}}'.encode()
        return body_reply(status, text, _PROBLEM, *after)

    return reply


def _throttled(value: Callable[[], str | None]) -> Callable[[Options], Reply]:
    def reply(options: Options) -> Reply:
        told = options.retry_after if options.retry_after is not None else value()
        after = () if told is None else (("Retry-After", told),)
        body = problems.body(problems.RateLimited(1)).encode()
        return body_reply(429, body, _PROBLEM, *after)

    return reply


def _in_two_seconds() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)


def _refused(status: int, slug: str, title: str) -> Callable[[Options], Reply]:
    body = f'{{"type":"/problems/{slug}","title":"{title}","status":{status},"retryable":false}}'.encode()
    challenge = (("WWW-Authenticate", "Bearer"),) if status == 401 else ()
    return lambda _: body_reply(status, body, _PROBLEM, *challenge)


def _redirect(options: Options) -> Reply:
    return body_reply(307, b"", ("Location", options.location))


def _bomb(options: Options) -> Reply:
    headers = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))
    return Reply(200, headers, gzip_bomb(options.unpacked_bytes))


def _hang(options: Options) -> Reply:
    return Reply(None, wait_seconds=options.seconds, ending=Ending.CLOSED)


ANSWERS: Final = (
    Fault("connection-closed", "B1 W2", "The connection is closed in order (FIN) without an answer.",
          Instead(lambda _: Reply(None, ending=Ending.CLOSED))),
    Fault("connection-reset", "B1 W2", "The connection is reset (RST) without an answer.",
          Instead(lambda _: Reply(None, ending=Ending.RESET))),
    Fault("hang", "B1 B6", "No answer for `seconds` (30), then the connection is closed.", Instead(_hang)),
    Fault("error-500", "B2", "500 with a problem document.", Instead(_error(500))),
    Fault("error-502", "B2", "502 with the HTML of a proxy.", Instead(_error(502))),
    Fault("error-503", "B2", "503; with `retry_after` also that header.", Instead(_error(503))),
    Fault("error-504", "B2", "504 with the HTML of a proxy.", Instead(_error(504))),
    Fault("error-520", "B2 T54", "520, which is no registered status.", Instead(_error(520))),
    Fault("error-later-page", "B2 T16", "502, but never on a first page.", Instead(_error(502)), LISTS, "later"),
    Fault("throttled-seconds", "B3 T27", "429 with `Retry-After: 1`.", Instead(_throttled(lambda: "1"))),
    Fault("throttled-date", "B3", "429 with an HTTP date two seconds away.", Instead(_throttled(_in_two_seconds))),
    Fault("throttled-week", "B3 T51", "429 with a week.", Instead(_throttled(lambda: "604800")), usual=False),
    Fault("throttled-negative", "B3 T51", "429 with `Retry-After: -1875538`.",
          Instead(_throttled(lambda: "-1875538"))),
    Fault("throttled-text", "B3 T51", "429 with `Retry-After: soon`.", Instead(_throttled(lambda: "soon"))),
    Fault("throttled-missing", "B3 T51", "429 without Retry-After.", Instead(_throttled(lambda: None))),
    Fault("unauthorized", "B4 T50", "401: the key or the consent is no longer good.",
          Instead(_refused(401, "unauthenticated", "The consent has expired.")), usual=False),
    Fault("forbidden", "B4 T50", "403: the key may no longer read this.",
          Instead(_refused(403, "forbidden", "Not with this key.")), usual=False),
    Fault("html", "B5", "200 with an HTML page of maintenance.",
          Instead(lambda _: body_reply(200, HTML, ("Content-Type", "text/html; charset=utf-8")))),
    Fault("html-as-json", "B5", "200 with the same page, declared as JSON.",
          Instead(lambda _: body_reply(200, HTML, ("Content-Type", "application/json")))),
    Fault("empty-body", "B5", "200 with nothing in it.",
          Instead(lambda _: body_reply(200, b"", ("Content-Type", "application/json")))),
    Fault("gzip-bomb", "B7", "A JSON list of `unpacked_bytes` (1 GiB), gzipped to a thousandth.", Instead(_bomb)),
    Fault("redirect", "B12", "307 to `location`, another host.", Instead(_redirect)),
    Fault("mutation-409", "B8 T17", "409 `mutation-during-pagination`, on a later page of the feed.",
          Instead(lambda _: problem_reply(problems.MutationDuringPagination())), _FEED, "later"),
    Fault("cursor-expired", "T19", "410 `cursor-expired` from the feed, though the cursor is good.",
          Instead(lambda _: problem_reply(problems.CursorExpired())), _FEED),
    Fault("account-gone", "T52 T53", "410 for an account that is open.",
          Instead(lambda _: problem_reply(problems.AccountGone())), _ACCOUNT, usual=False),
    Fault("account-not-found", "T52", "404 for an account that is open.",
          Instead(lambda _: problem_reply(problems.NotFound())), _ACCOUNT, usual=False),
)  # fmt: skip
