"""The outermost layer, in plain ASGI: what holds for every request, whoever answers it in the end.

A request gets an id, is refused when its size or its query is out of bounds, is let in for who asks and within that
caller's limits, and is counted. An answer that is kept in memory is given from here, before FastAPI is entered: that
way is a look-up and two messages, so it has neither log context, nor label, nor clock of its own.
"""

import asyncio
import itertools
import time
import uuid
from collections.abc import Callable, Iterable
from urllib.parse import unquote_plus

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from kernel import errors
from kernel.access import is_open
from kernel.caller import ANONYMOUS
from kernel.http_server import WRITE_WHOLE, WriteWhole
from kernel.problems import problem_response
from kernel.this_machine import means_this_machine
from readapi.access import Access, Pass
from readapi.conditions import is_private, is_unchanged, most_age
from readapi.entry import ACCEPT_BYTES, Entry, Key
from readapi.exchange import Exchange
from readapi.hot import Fill, Hot
from readapi.metrics import Metrics
from readapi.receipts import Receipts

# Bytes of path and query. Two ids of the longest kind and a cursor of both still fit, percent-encoded.
URL_BYTES = 32 * 1024
# Bytes of a request body. Nothing here reads a long one, so this only ends a nonsense early.
BODY_BYTES = 64 * 1024

Sent = dict[bytes, bytes]


class Edge:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, metrics: Metrics, access: Access, hot: Hot, receipts: Receipts) -> None:
        self.app = app
        self.metrics = metrics
        self.access = access
        self.hot = hot
        self.receipts = receipts
        # Unique to this process and in the form of a UUID, without one made for each request.
        self._id_prefix = str(uuid.uuid4())[:24].encode()
        self._id_numbers = itertools.count(1)
        # The event loop's, as soon as there is one.
        self.clock: Callable[[], float] = time.monotonic

    def forget(self) -> None:
        """Forget every answer, and keep none that is being made: what was just written shows in the next one."""
        self.hot.invalidate(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            self.clock = asyncio.get_running_loop().time
            await self.app(scope, receive, send)
            return
        request_id = b"%s%012x" % (self._id_prefix, next(self._id_numbers))
        sent: Sent = dict(scope["headers"])
        caller = self.access.known(sent.get(b"authorization"))
        if caller is not None and _may_be_kept(scope, sent) and _is_for_us(caller, sent):
            now = self.clock()
            entry = self.hot.find(
                (caller.scope_key, scope["raw_path"], scope["query_string"], sent.get(b"accept")), now
            )
            if entry is not None and _is_young_enough(entry, sent, now) and caller.spend(now):
                self.hot.hits += 1
                extensions = scope.get("extensions")
                write = None if extensions is None else extensions.get(WRITE_WHOLE)
                await self.give(entry, caller, scope["method"], sent, request_id, send, write=write)
                return
        await self._ask(scope, receive, send, sent, request_id)

    async def give(
        self,
        entry: Entry,
        caller: Pass,
        method: str,
        sent: Sent,
        request_id: bytes,
        send: Send,
        own: Iterable[tuple[bytes, bytes]] = (),
        write: WriteWhole | None = None,
    ) -> None:
        """Send an answer, or that the client has it already; `own` are headers that are not kept with it. `write` takes
        it in one piece, without them.
        """
        now = self.clock()
        condition = sent.get(b"if-none-match")
        if condition is not None and is_unchanged(condition, entry.etag):
            status, body = 304, b""
            entry.count.not_modified += 1
            self.hot.not_modified += 1
        else:
            status, body = 200, entry.body
            if method == "HEAD":
                body = b""
                entry.count.head += 1
            else:
                entry.count.get += 1
        caller.add_bytes(len(body))
        self.receipts.note(caller.caller, entry.target, status, entry.result_hash, entry.version, time.time())
        if write is not None:
            head = entry.head(now, unchanged=status == 304)
            await write(b"%s%srequest-id: %s\r\n" % (head, caller.limit_lines(), request_id), body)
            return
        headers = entry.headers(now, unchanged=status == 304)
        headers = [*headers, *own, *caller.limit_headers(), (b"request-id", request_id)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _ask(self, scope: Scope, receive: Receive, send: Send, sent: Sent, request_id: bytes) -> None:
        """Have the application answer, or one of our own refuse."""
        context = structlog.contextvars.bind_contextvars(request_id=request_id.decode())
        exchange = Exchange(self, scope, receive, send, sent, request_id)
        try:
            _refuse(scope)
            if not is_open(scope["path"]):
                exchange.admit(await self.access.identify(scope), self.clock())
            is_short = len(sent.get(b"accept", b"")) <= ACCEPT_BYTES
            if exchange.caller is not None and is_short and _may_be_kept(scope, sent):
                await self._share(exchange, sent)
            else:
                await exchange.run(self.app)
        except errors.Problem as problem:
            await exchange.run(problem_response(problem))
        finally:
            exchange.settle()
            structlog.contextvars.reset_contextvars(**context)

    async def _share(self, exchange: Exchange, sent: Sent) -> None:
        """Take an answer that is kept, or that somebody waits for and is as good as one's own; else ask."""
        scope, caller = exchange.scope, exchange.caller
        assert caller is not None
        key: Key = (caller.scope_key, scope["raw_path"], scope["query_string"], sent.get(b"accept"))
        # Who had to be looked up first did not come by here yet.
        entry = self.hot.find(key, self.clock())
        if entry is not None and _is_young_enough(entry, sent, self.clock()):
            self.hot.hits += 1
            exchange.is_settled = True
            await self.give(entry, caller, exchange.method, sent, exchange.request_id, exchange.send)
            return
        directives = sent.get(b"cache-control")
        # Who says how old it may be, or how long to wait for a newer one, asks something else than the others.
        is_shared = directives is None and b"prefer" not in sent
        begun = self.hot.begun
        fill: Fill | None
        while is_shared and (fill := self.hot.under_way(key, self.clock())) is not None:
            await fill.wait()
            if fill.entry is None:
                # A refusal, or a stream: that is for each to get by himself, and all at once.
                is_shared = False
            elif self.hot.is_good(fill, begun, self.clock()):
                # It may have taken long, and the token may be over by now.
                caller = await self.access.still(caller, scope)
                self.hot.joins += 1
                exchange.is_settled = True
                await self.give(fill.entry, caller, exchange.method, sent, exchange.request_id, exchange.send)
                return
        if directives is not None and is_private(directives):
            await exchange.run(self.app)
            return
        with self.hot.filling(key, _account_in(scope["path"]), self.clock(), shared=is_shared) as exchange.fill:
            await exchange.run(self.app)


def _may_be_kept(scope: Scope, sent: Sent) -> bool:
    """Whether it is a plain question: nothing in a body, and no header said twice, of which one would count."""
    return scope["method"] in ("GET", "HEAD") and len(sent) == len(scope["headers"]) and b"content-length" not in sent


def _is_for_us(caller: Pass, sent: Sent) -> bool:
    """Whether who has no token means this machine; if not, `identify` will say so."""
    return caller.caller is not ANONYMOUS or means_this_machine(
        (sent.get(b"host", b""),), (sent[b"origin"],) if b"origin" in sent else ()
    )


def _is_young_enough(entry: Entry, sent: Sent, now: float) -> bool:
    directives = sent.get(b"cache-control")
    if directives is None:
        return True
    seconds = most_age(directives)
    return seconds is not None and not entry.is_older(now, seconds)


def _account_in(path: str) -> str | None:
    """The account that a path names; by the path as the routes read it."""
    parts = path.split("/", 4)
    return parts[3] if len(parts) > 3 and parts[1:3] == ["banking", "accounts"] else None


def _refuse(scope: Scope) -> None:
    """Raise the Problem of a request that is out of bounds."""
    query: bytes = scope["query_string"]
    if len(query) + len(scope["raw_path"]) > URL_BYTES:
        raise errors.UriTooLong
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > BODY_BYTES):
            raise errors.PayloadTooLarge
    if b"&" in query:
        # Whoever sends a parameter twice means something by it, and we could only guess what.
        names = [unquote_plus(pair.partition("=")[0]) for pair in query.decode("latin-1").split("&")]
        for name in names:
            if names.count(name) > 1:
                raise errors.ValidationFailed.at(name, "must be given once")
