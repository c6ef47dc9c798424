"""What changed since: page by page, or as a stream of events."""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from kernel import errors
from readapi import models
from readapi.answers import JSON, freshness_headers
from readapi.changes import BEGINNING, PATH, Feed, Position
from readapi.demand import note_read
from readapi.documentation import problem_responses
from readapi.filters import ChangesQuery
from readapi.negotiation import chosen_form
from readapi.outflow import Outflow
from readapi.reader import reader_of
from readapi.receipts import Receipts
from readapi.routes.declared import LIST_OF_ONE
from readapi.stream import Stream, Streams

router = APIRouter()

EVENTS = "text/event-stream"
# With the same cursor there may be more to tell a second later.
HEADERS = {"Cache-Control": "private, no-store", "Vary": "Accept, Authorization"}
# Some proxies gather an answer before they pass it on, which would be never.
_UNBUFFERED = {"X-Accel-Buffering": "no"}
_EVENTS: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {
            "event": {"enum": ["changes", "freshness", "end"]},
            "id": {"type": "string"},
            "data": {"type": "string"},
        },
    },
    "description": "Events `changes` (a page as in JSON), `freshness` (when the verdict turns) and, last of all, `end` "
    "(a problem). Each id is the cursor after the event.",
}
_REFUSALS = {**LIST_OF_ONE, **problem_responses(errors.TooManyStreams)}


@router.get(
    PATH,
    tags=["changes"],
    operation_id="list_changes",
    summary="What changed since",
    response_model=models.Changes,
    responses={200: {"content": {EVENTS: _EVENTS}}, **_REFUSALS},
)
async def list_changes(request: Request, query: Annotated[ChangesQuery, Query()]) -> Response:
    """What was added, modified and removed since a cursor, without one from the beginning of all.

    Applied page by page, it makes of a copy what the mirror held at the end: nothing is left out, and what changed more
    than once is there as it is at the end. A change is told about a second after it was stored. With
    `Accept: text/event-stream` the pages come as events, as they happen.
    """
    if chosen_form(request.headers.get("accept"), (JSON, EVENTS)) == EVENTS:
        return await _stream(request, query)
    feed = _feed(request, query)
    page = await feed.page(await _beginning(feed, query, query.cursor), query.limit)
    note_read(request)
    headers = {**HEADERS, **freshness_headers(json.loads(page.freshness))}
    if page.age_seconds is not None:
        headers["Age"] = str(max(0, page.age_seconds))
    return Response(feed.body(page).encode(), 200, headers, JSON)


@router.get(
    f"{PATH}/stream",
    tags=["changes"],
    operation_id="stream_changes",
    summary="What changes, as it happens",
    response_class=Response,
    responses={200: {"content": {EVENTS: _EVENTS}}, **_REFUSALS},
)
async def stream_changes(request: Request, query: Annotated[ChangesQuery, Query()]) -> Response:
    """The same as a stream of events, for clients that cannot say what they accept.

    It goes on where `Last-Event-ID` says, or else `cursor`.
    """
    chosen_form(request.headers.get("accept"), (EVENTS,))
    return await _stream(request, query)


async def _stream(request: Request, query: ChangesQuery) -> Response:
    feed = _feed(request, query)
    streams: Streams = request.app.state.streams
    async with AsyncExitStack() as stack:
        watch = stack.enter_context(streams.one(feed.reader.caller, query.account_id))

        async def check() -> None:
            streams.check()
            await request.app.state.access.stays(request.scope)
            note_read(request)

        # The first page before anything is sent, so that what is wrong with the question is said as for any other.
        position = await _beginning(feed, query, request.headers.get("last-event-id") or query.cursor)
        page = await feed.page(position, query.limit)
        stream = Stream(feed, watch, streams.asking, query.limit, check, _receipts_of(request, feed))
        events = stream.events(page)
        return Outflow(events, headers={**HEADERS, **_UNBUFFERED}, media_type=EVENTS, holding=stack.pop_all())


def _receipts_of(request: Request, feed: Feed) -> Callable[[str, str], None]:
    """Notes what a stream tells, each event by itself: of the stream as a whole there is a receipt at its end only."""
    receipts: Receipts = request.app.state.receipts
    named = {} if feed.account_id is None else {"account_id": feed.account_id}

    def note(event_id: str, data: str) -> None:
        target = f"{PATH}/stream?{urlencode({**named, 'id': event_id})}".encode()
        reader, told = feed.reader, hashlib.sha256(data.encode()).digest()
        receipts.note(reader.caller, target, 200, told, reader.version, time.time())

    return note


def _feed(request: Request, query: ChangesQuery) -> Feed:
    return Feed(reader_of(request), request.app.state.cursors, query.account_id)


async def _beginning(feed: Feed, query: ChangesQuery, cursor: str | None) -> Position:
    if cursor:
        return feed.position(cursor)
    if query.first is None:
        return BEGINNING
    return await (feed.end() if query.first == "now" else feed.since(query.first))
