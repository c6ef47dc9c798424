"""Stands outside of the bank's gate and breaks answers of a bank that is right."""

import json
import random
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, assert_never
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox import cursors, problems
from sandbox.chaos import wire
from sandbox.chaos.acts import (
    LISTS,
    Answer,
    Call,
    Deliver,
    Edit,
    Fault,
    Instead,
    Mangle,
    Options,
    Page,
    Reply,
    Rewrite,
    Route,
)
from sandbox.chaos.catalogue import FAULTS
from sandbox.chaos.dealer import Chaos
from sandbox.chaos.manners import json_of
from sandbox.chaos.pages import resolve

# Only these are ever touched: not the admin routes, not /health, which supervisors ask.
_ROUTES: Final[tuple[tuple[str, re.Pattern[str], Route], ...]] = (
    ("GET", re.compile("/accounts"), "accounts"),
    ("GET", re.compile("/accounts/([^/]+)"), "account"),
    ("GET", re.compile("/accounts/([^/]+)/balance"), "balance"),
    ("GET", re.compile("/balances"), "balances"),
    ("GET", re.compile("/transactions"), "transactions"),
    ("GET", re.compile("/transactions/changes"), "changes"),
    ("GET", re.compile("/transactions/[^/]+"), "transaction"),
    ("POST", re.compile("/transactions"), "pay"),
)
_OURS: Final = b"cursor=chaos-"

_Ask = Callable[[dict[str, str] | None], Awaitable[Answer]]


class ChaosMiddleware:
    """ASGI middleware. While nothing is wanted, a request costs one look."""

    def __init__(self, app: ASGIApp, *, chaos: Chaos) -> None:
        self._app = app
        self._chaos = chaos

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or let it meet a fault."""
        if scope["type"] != "http" or not (self._chaos.armed or _OURS in scope["query_string"]):
            await self._app(scope, receive, send)
            return
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        call = self._call(scope, query)
        if call is None:
            await self._app(scope, receive, send)
            return
        await wire.put(await self._meet(call, query, scope, receive), receive, send)

    def _call(self, scope: Scope, query: dict[str, str]) -> Call | None:
        for method, path, route in _ROUTES:
            if scope["method"] == method and (found := path.fullmatch(scope["path"])) is not None:
                account_id = found[1] if path.groups else query.get("account_id")
                cursor = query.get("cursor")
                page = self._chaos.page_of(cursor, mid_loop=_is_mid_loop(route, cursor))
                return Call(route, account_id, cursor, page)
        return None

    async def _meet(self, call: Call, query: dict[str, str], scope: Scope, receive: Receive) -> Reply:
        led_on = resolve(call.cursor) if call.cursor is not None else None
        text: str = scope["query_string"].decode("latin-1")
        if led_on is not None:
            query = {name: value for name, value in query.items() if name != "cursor"}
            query |= {} if led_on[1] is None else {"cursor": led_on[1]}
            text = urlencode(query)
        answers: dict[str, Answer] = {}

        async def ask(changed: dict[str, str] | None) -> Answer:
            """The bank's own answer, to what was asked or to something else; of a payment above all, once."""
            asked = text if changed is None else urlencode(changed)
            if asked not in answers:
                answers[asked] = await _ask(self._app, {**scope, "query_string": asked.encode("latin-1")}, receive)
                if call.route in LISTS and led_on is None and (document := json_of(answers[asked])) is not None:
                    self._chaos.remember(call, document)
            return answers[asked]

        deals: Iterable[tuple[Fault, Options, random.Random]]
        if led_on is not None and self._chaos.misleads:
            deals = [(FAULTS[led_on[0]], Options(), random.Random(0))]  # noqa: S311  # Nothing is drawn.
        else:
            deals = self._chaos.deal(call)
        for fault, options, chance in deals:
            reply = await self._do(fault, Page(call, {}, chance, options), query, ask)
            if reply is not None:
                self._chaos.struck(fault)
                return reply
        return _as_it_is(await ask(None))

    async def _do(self, fault: Fault, page: Page, query: dict[str, str], ask: _Ask) -> Reply | None:
        match fault.act:
            case Instead(reply=reply):
                return reply(page.options)
            case Rewrite(query=rewrite):
                rewritten = rewrite(query)
                return None if rewritten is None else _as_it_is(await ask(rewritten))
            case Mangle(reply=mangle):
                return mangle(await ask(None), page.options)
            case Edit(page=edit):
                answer = await ask(None)
                document = json_of(answer)
                if document is None:
                    return None
                page.document, page.row_before = document, self._chaos.row_before(page.call.cursor)
                if not edit(page):
                    return None
                self._chaos.told(page.altered, page.invented)
                body = json.dumps(page.document, separators=(",", ":")).encode()
                return Reply(answer.status, answer.headers, (body,), len(body))
            case Deliver():
                return None  # No request is on the way of a webhook.
            case _:
                assert_never(fault.act)


def _is_mid_loop(route: Route, cursor: str | None) -> bool:
    """Whether a cursor that nobody counted is one of a later page. The feed's says so itself."""
    if route != "changes" or cursor is None:
        return cursor is not None
    try:
        return cursors.FeedCursor.decode(cursor).loop_head is not None
    except problems.CursorInvalid:
        return False


def _as_it_is(answer: Answer) -> Reply:
    return Reply(answer.status, answer.headers, (answer.body,), len(answer.body))


async def _ask(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    started: Message = {}
    body = bytearray()

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, keep)
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in started["headers"])
    return Answer(started["status"], headers, bytes(body))
