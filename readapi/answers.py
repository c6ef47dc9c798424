"""How an answer leaves: the envelope around the JSON that PostgreSQL made, and headers that say its age."""

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response

from kernel.errors import NotFound
from readapi.cursors import Cursors
from readapi.demand import note_read
from readapi.fields import chosen_fields, picked
from readapi.negotiation import chosen_form
from readapi.patience import Ask, account_asked, patience_of, young_answer
from readapi.reader import Reader, reader_of
from readapi.store import Answer
from readapi.values import read_moment

JSON = "application/json"
# Freshness in headers, where the body is a bare list and on a 304: header name by member of the envelope's "freshness".
FRESHNESS_HEADERS = {
    "Bankmirror-Verdict": "verdict",
    "Bankmirror-Synced-At": "synced_at",
    "Bankmirror-As-Of": "as_of",
    "Bankmirror-Fresh-Until": "fresh_until",
    "Bankmirror-Reason": "reason",
}
# What is said in every row of a list. PostgreSQL puts spaces where it builds an object and line breaks between a list's
# items; within a text, quotes and line breaks are escaped, so none of these is ever found there.
_SPACED = (
    (", \n ", ","),
    ('{"description" : ', '{"description":'),
    (', "counterparty_name" : ', ',"counterparty_name":'),
    (', "warnings" : ', ',"warnings":'),
)
# Members of the data that say no more than when it was confirmed. `as_of` is the bank's own statement, and stays.
_CONFIRMED = re.compile(r'"(?:synced_at|last_seen_at|fresh_until)" ?: ?"[^"]*"')


def page_keys(request: Request, cursor: str | None, key_count: int) -> list[str] | None:
    """The sort keys that the asked page begins after; None for the first page. Raises CursorInvalid."""
    if cursor is None:
        return None
    caller = reader_of(request).caller
    return _cursors(request).read(caller, request.url.path, request.query_params, cursor, key_count)


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
    # When its question was asked, by the event loop's clock, where that may have been long after the request came.
    asked_at: float | None = None


async def enveloped(
    request: Request,
    ask: Ask,
    *,
    kind: str = "account",
    settled: bool = False,
    of_all: bool = False,
) -> Response:
    """The answer as {"data", "freshness", "next_cursor"}; a `settled` one is the same for ever. `of_all` says that it
    tells of all accounts, although it may be asked about one. Raises NotFound, naming the kind of thing, NotAcceptable,
    StaleData, and what asking does.
    """
    answer, headers = await _asked(request, ask, kind, settled=settled, of_all=of_all)
    if (modified := _modified(request, answer, kind, settled=settled)) is not None:
        headers["Last-Modified"] = format_datetime(modified, usegmt=True)
    next_cursor = "null"
    if answer.next is not None:
        caller = reader_of(request).caller
        cursor = _cursors(request).make(caller, request.url.path, request.query_params, answer.next)
        next_cursor = f'"{cursor}"'
        query = urlencode({**request.query_params, "cursor": cursor})
        headers["Link"] = f'<{request.scope["raw_path"].decode("ascii")}?{query}>; rel="next"'
    body = f'{{"data":{compact(answer.data)},"freshness":{answer.freshness},"next_cursor":{next_cursor}}}'
    return Response(body.encode(), 200, headers, JSON)


async def bare(request: Request, ask: Ask) -> Response:
    """The answer's list alone, with its freshness in headers: the contract of `activity`. Raises as `enveloped`."""
    answer, headers = await _asked(request, ask, "account", settled=False, of_all=False)
    return Response(compact(answer.data).encode(), 200, headers, JSON)


async def _asked(
    request: Request, ask: Ask, kind: str, *, settled: bool, of_all: bool
) -> tuple[Answer, dict[str, str]]:
    """The answer and its headers; what the edge must know to keep it is left in the scope."""
    # A list that may leave as a file has chosen its form by now, and this one only if it is accepted.
    chosen_form(request.headers.get("accept"), (JSON,))
    reader = reader_of(request)
    # Before anything is asked: what cannot be chosen costs the database nothing.
    chosen = chosen_fields(request)
    account_id = account_asked(request)
    accounts = None if account_id is None or of_all else frozenset({account_id})
    patience = patience_of(request, settled=settled)
    waited: dict[str, str] = {}
    asked_at: float | None = None
    if patience is None:
        answer = await ask(reader)
    else:

        async def ask_now(reader: Reader) -> Answer:
            nonlocal asked_at
            asked_at = asyncio.get_running_loop().time()
            return await ask(reader)

        answer, has_waited = await young_answer(request, reader, ask_now, patience, accounts)
        waited = patience.applied if has_waited else {}
    _require_found(answer, kind, at_a_moment=settled)
    note_read(request)
    if chosen is not None:
        answer = answer._replace(data=picked(answer.data, chosen))
    freshness = json.loads(answer.freshness)
    etag = _etag(answer, freshness)
    keep = Keep(accounts, answer.age_seconds, answer.fresh_seconds, etag, reader.version, settled, asked_at)
    request.scope["bankmirror.keep"] = keep
    # Those that change from moment to moment, and the ETag, are the entry's to say.
    return answer, {**({} if settled else freshness_headers(freshness)), **waited}


def _etag(answer: Answer, freshness: dict[str, Any]) -> bytes:
    """A weak one: it changes with the data and the verdict on it, and not with when that was last confirmed.

    So an unchanged account is a 304 poll after poll, and the headers of the 304 say how fresh it is. Where the bank
    states a new time for an unchanged balance, that is new data; so is a time that is told in words (can-pay).
    """
    data = answer.data
    if '"synced_at"' in data or '"last_seen_at"' in data:
        data = _CONFIRMED.sub("", data)
    told = hashlib.blake2b(data.encode(), digest_size=12)
    told.update(f"\n{answer.next}\n{freshness['verdict']}\n{freshness['reason']}".encode())
    return b'W/"' + told.hexdigest().encode() + b'"'


def _modified(request: Request, answer: Answer, kind: str, *, settled: bool) -> datetime | None:
    """When what is answered came to be so, where that can be said: what was known at a moment, and one transaction."""
    if settled:
        asked = request.query_params.get("known_at") or request.query_params.get("known_to")
        return None if asked is None else read_moment(asked)
    if kind != "transaction":
        return None
    # None where a choice of fields left them out.
    data = json.loads(answer.data)
    versions = [data.get("current") or {}, *(data.get("revisions") or [])]
    known = [version.get(side) for version in versions for side in ("known_from", "known_to")]
    return max((datetime.fromisoformat(moment) for moment in known if moment), default=None)


def header_text(text: str) -> str:
    """A text that fits in a header: what is not printable ASCII is escaped as in a string literal."""
    return text.encode("unicode_escape").decode("ascii")


def _require_found(answer: Answer, kind: str, *, at_a_moment: bool = False) -> None:
    if not answer.found:
        # It may be known now: whoever asks about a time before that should not look for a typing error.
        raise NotFound(f"no {kind} with this id was known at that moment" if at_a_moment else f"no {kind} has this id")


def compact(data: str) -> str:
    """Without the white space that every row would repeat: whoever reads it pays for it."""
    for spaced, plain in _SPACED:
        data = data.replace(spaced, plain)
    return data


def freshness_headers(freshness: Mapping[str, Any]) -> dict[str, str]:
    """An envelope's "freshness" as headers; what is null has none."""
    told = {header: freshness[member] for header, member in FRESHNESS_HEADERS.items()}
    return {header: header_text(value) for header, value in told.items() if value is not None}


def _cursors(request: Request) -> Cursors:
    cursors = request.app.state.cursors
    assert isinstance(cursors, Cursors)
    return cursors
