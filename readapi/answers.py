"""How an answer leaves: the envelope around the JSON that PostgreSQL made, and headers that say its age."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import Request, Response

from kernel.errors import NotFound
from readapi.cursors import Cursors
from readapi.demand import note_read
from readapi.reader import Reader, reader_of
from readapi.store import Answer

# A question of the store or of the moments, with everything but its reader.
Ask = Callable[[Reader], Awaitable[Answer]]

JSON = "application/json"
# A year, which is as good as for ever to a cache.
SETTLED = "private, max-age=31536000, immutable"
# Freshness where the body is a bare list: header name by member of the envelope's "freshness".
FRESHNESS_HEADERS = {
    "Bankmirror-Verdict": "verdict",
    "Bankmirror-Synced-At": "synced_at",
    "Bankmirror-As-Of": "as_of",
    "Bankmirror-Fresh-Until": "fresh_until",
    "Bankmirror-Reason": "reason",
}


def page_keys(request: Request, cursor: str | None, key_count: int) -> list[str] | None:
    """The sort keys that the asked page begins after; None for the first page. Raises CursorInvalid."""
    if cursor is None:
        return None
    return _cursors(request).read(request.url.path, request.query_params, cursor, key_count)


@dataclass(frozen=True, slots=True)
class Keep:
    """What the edge must know of an answer to keep its bytes."""

    # The accounts whose changes make it wrong; None: any account's.
    accounts: frozenset[str] | None
    age_seconds: int | None
    # Seconds until it counts as stale; None where it never was confirmed.
    fresh_seconds: int | None
    etag: bytes
    version: str
    settled: bool


async def enveloped(request: Request, ask: Ask, *, kind: str = "account", settled: bool = False) -> Response:
    """The answer as {"data", "freshness", "next_cursor"}; a `settled` one is the same for ever. Raises NotFound, naming
    the kind of thing, or what asking raises.
    """
    answer = await _asked(request, ask, kind, settled=settled)
    headers = {"Cache-Control": SETTLED} if settled else _age_headers(answer)
    next_cursor = "null"
    if answer.next is not None:
        cursor = _cursors(request).make(request.url.path, request.query_params, answer.next)
        next_cursor = f'"{cursor}"'
        query = urlencode({**request.query_params, "cursor": cursor})
        headers["Link"] = f'<{request.scope["raw_path"].decode("ascii")}?{query}>; rel="next"'
    headers["ETag"] = request.scope["bankmirror.keep"].etag.decode()
    body = f'{{"data":{_compact(answer.data)},"freshness":{answer.freshness},"next_cursor":{next_cursor}}}'
    return Response(body.encode(), 200, headers, JSON)


async def bare(request: Request, ask: Ask) -> Response:
    """The answer's list alone, with its freshness in headers: the contract of `activity`. Raises as `enveloped`."""
    answer = await _asked(request, ask, "account", settled=False)
    headers = _age_headers(answer)
    freshness = json.loads(answer.freshness)
    for header, member in FRESHNESS_HEADERS.items():
        if (value := freshness[member]) is not None:
            headers[header] = header_text(value)
    headers["ETag"] = request.scope["bankmirror.keep"].etag.decode()
    return Response(_compact(answer.data).encode(), 200, headers, JSON)


async def _asked(request: Request, ask: Ask, kind: str, *, settled: bool) -> Answer:
    reader = reader_of(request)
    answer = await ask(reader)
    _require_found(answer, kind, at_a_moment=settled)
    note_read(request)
    account_id = request.path_params.get("account_id") or request.query_params.get("account_id")
    request.scope["bankmirror.keep"] = Keep(
        frozenset({account_id}) if account_id else None,
        answer.age_seconds,
        answer.fresh_seconds,
        _etag(answer),
        reader.version,
        settled,
    )
    return answer


def _etag(answer: Answer) -> bytes:
    """A weak one: it changes with the data and the verdict on it, and not with when that was last confirmed."""
    freshness = json.loads(answer.freshness)
    told = json.dumps([answer.data, answer.next, freshness["verdict"], freshness["reason"]])
    return b'W/"' + hashlib.blake2b(told.encode(), digest_size=12).hexdigest().encode() + b'"'


def header_text(text: str) -> str:
    """A text that fits in a header: what is not printable ASCII is escaped as in a string literal."""
    return text.encode("unicode_escape").decode("ascii")


def _require_found(answer: Answer, kind: str, *, at_a_moment: bool = False) -> None:
    if not answer.found:
        # It may be known now: whoever asks about a time before that should not look for a typing error.
        raise NotFound(f"no {kind} with this id was known at that moment" if at_a_moment else f"no {kind} has this id")


def _compact(data: str) -> str:
    """Without the line breaks that PostgreSQL puts between a list's items; inside of a string they are escaped."""
    return data.replace(", \n ", ",")


def _age_headers(answer: Answer) -> dict[str, str]:
    # A cache that goes by the letter counts Age against max-age, and so forgets an answer early. One that
    # ignores Age must not keep it beyond its fresh_until.
    headers = {"Cache-Control": f"private, max-age={max(0, answer.fresh_seconds or 0)}"}
    if answer.age_seconds is not None:
        headers["Age"] = str(max(0, answer.age_seconds))
    return headers


def _cursors(request: Request) -> Cursors:
    cursors = request.app.state.cursors
    assert isinstance(cursors, Cursors)
    return cursors
