"""Faults in how a right answer is sent, and in what the bank makes of a question."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from sandbox.chaos.acts import LISTS, Answer, Ending, Fault, Mangle, Options, Reply, Rewrite, Route

_LISTING: Final[frozenset[Route]] = frozenset({"transactions"})
_ID: Final = re.compile(rb'_id"\s*:\s*"')
_PAUSE_SECONDS: Final = 0.2
_SHORT_PAGE_ROWS: Final = "2"
# As Mercury does it.
_WINDOW: Final = timedelta(days=30)


def json_of(answer: Answer) -> dict[str, object] | None:
    """The document of a success, or None."""
    if answer.status not in (200, 201) or not answer.body.startswith(b"{"):
        return None
    document: dict[str, object] = json.loads(answer.body)
    return document


def cut(answer: Answer, options: Options) -> Reply | None:
    """Two thirds of it, though all of it was announced."""
    body = answer.body
    if json_of(answer) is None:
        return None
    return Reply(answer.status, answer.headers, (body[: len(body) * 2 // 3],), len(body), ending=Ending.CLOSED)


def _cut_and_counted(answer: Answer, options: Options) -> Reply | None:
    part = answer.body[: len(answer.body) * 2 // 3]
    return None if json_of(answer) is None else Reply(answer.status, answer.headers, (part,), len(part))


def _twice_the_key(answer: Answer, options: Options) -> Reply | None:
    document = json_of(answer)
    if not document:
        return None
    body = f"{{{json.dumps(next(iter(document)))}:null,".encode() + answer.body[1:]
    return Reply(answer.status, answer.headers, (body,), len(body))


def _not_utf8(answer: Answer, options: Options) -> Reply | None:
    body, found = _ID.subn(lambda id_: id_[0] + b"\xff\xc3\x28", answer.body, count=1)
    if json_of(answer) is None or not found:
        return None
    return Reply(answer.status, answer.headers, (body,), len(body))


def _trickle(answer: Answer, options: Options) -> Reply | None:
    pieces = max(int(options.seconds / _PAUSE_SECONDS), 1)
    size = max(len(answer.body) // pieces, 1)
    parts = _parts(answer.body, size)
    pause_seconds = options.seconds / max(len(answer.body) / size, 1)
    return Reply(answer.status, answer.headers, parts, len(answer.body), pause_seconds=pause_seconds)


def _parts(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def _short_pages(query: dict[str, str]) -> dict[str, str] | None:
    return query | {"limit": _SHORT_PAGE_ROWS}


def _window(query: dict[str, str]) -> dict[str, str] | None:
    if "from" in query:
        return None
    return query | {"from": (datetime.now(UTC) - _WINDOW).date().isoformat()}


MANNERS: Final = (
    Fault("truncated-body", "B5", "The body ends after two thirds of its Content-Length.", Mangle(cut)),
    Fault("truncated-json", "B5", "Two thirds of the body, and the Content-Length of that.", Mangle(_cut_and_counted)),
    Fault("duplicate-keys", "B5", "The first key of the document stands there twice.", Mangle(_twice_the_key)),
    Fault("invalid-utf8", "B5", "Bytes in an id that are no UTF-8.", Mangle(_not_utf8)),
    Fault("slow-trickle", "B6", "The right body, spread over `seconds` (30).", Mangle(_trickle)),
    Fault("short-pages", "T20 T21", "Two rows a page, whatever `limit` says.", Rewrite(_short_pages), LISTS),
    Fault("default-window", "T22", "Without `from` only the last 30 days are listed.", Rewrite(_window), _LISTING),
)
