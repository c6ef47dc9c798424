"""How an answer leaves: the envelope around the JSON that PostgreSQL made, and headers that say its age."""

import json
from urllib.parse import urlencode

from fastapi import Request, Response

from kernel.errors import NotFound
from readapi.cursors import Cursors
from readapi.demand import note_read
from readapi.store import Answer

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


def enveloped(request: Request, answer: Answer, *, kind: str = "account", settled: bool = False) -> Response:
    """The answer as {"data", "freshness", "next_cursor"}; a `settled` one is the same for ever. Raises NotFound, naming
    the kind of thing.
    """
    _require_found(answer, kind, at_a_moment=settled)
    note_read(request)
    headers = {"Cache-Control": SETTLED} if settled else _age_headers(answer)
    next_cursor = "null"
    if answer.next is not None:
        cursor = _cursors(request).make(request.url.path, request.query_params, answer.next)
        next_cursor = f'"{cursor}"'
        query = urlencode({**request.query_params, "cursor": cursor})
        headers["Link"] = f'<{request.scope["raw_path"].decode("ascii")}?{query}>; rel="next"'
    body = f'{{"data":{_compact(answer.data)},"freshness":{answer.freshness},"next_cursor":{next_cursor}}}'
    return Response(body.encode(), 200, headers, JSON)


def bare(request: Request, answer: Answer) -> Response:
    """The answer's list alone, with its freshness in headers: the contract of `activity`. Raises NotFound."""
    _require_found(answer, "account")
    note_read(request)
    headers = _age_headers(answer)
    freshness = json.loads(answer.freshness)
    for header, member in FRESHNESS_HEADERS.items():
        if (value := freshness[member]) is not None:
            headers[header] = header_text(value)
    return Response(_compact(answer.data).encode(), 200, headers, JSON)


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
