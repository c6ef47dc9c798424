"""One request that the application answers: its answer on the way out, made into bytes to keep where it may be kept."""

import hashlib
import time
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kernel.errors import Problem
from kernel.problems import problem_response
from readapi.access import Pass
from readapi.answers import Keep
from readapi.conditions import most_age_asked
from readapi.entry import Entry
from readapi.hot import Fill

if TYPE_CHECKING:
    from readapi.edge import Edge, Sent


class Exchange:
    """A request, who asked it, and how far its answer has come."""

    def __init__(
        self, edge: "Edge", scope: Scope, receive: Receive, send: Send, sent: "Sent", request_id: bytes
    ) -> None:
        self.method: str = scope["method"]
        # HEAD is GET without the body, for every path. A copy: the server looks at its own for what was asked.
        # What would send a long body sends none.
        self.scope: Scope = {**scope, "method": "GET", "bankmirror.head": True} if self.method == "HEAD" else scope
        self.send = send
        self.request_id = request_id
        self.caller: Pass | None = None
        # What waits for this answer, to keep it.
        self.fill: Fill | None = None
        # Whether the answer was counted and noted as one that can be kept.
        self.is_settled = False
        self._edge, self._receive, self._sent = edge, receive, sent
        self._started = time.perf_counter()
        self._status = 500
        self._digest = hashlib.sha256()
        # The beginning of an answer that can be kept, held back until its body is there.
        self._held: Message | None = None

    def admit(self, caller: Pass, now: float) -> None:
        """Let the caller in. Raises TooManyRequests."""
        self.caller = caller
        if not caller.spend(now):
            raise caller.over()
        self.scope["bankmirror.caller"] = caller.caller

    async def run(self, app: ASGIApp) -> None:
        """Have an application answer."""
        await app(self.scope, self._receive, self._send_on)

    def settle(self) -> None:
        """Count the answer, and note what was answered, once it is over."""
        route = getattr(self.scope.get("route"), "path", "unmatched")
        self._edge.metrics.observe_seconds(route, time.perf_counter() - self._started)
        if self.is_settled:
            return
        self._edge.metrics.count(self.method, route, self._status)
        if self.caller is not None:
            path, query = self.scope["raw_path"], self.scope["query_string"]
            target = path + b"?" + query if query else path
            digest = self._digest.digest()
            self._edge.receipts.note(self.caller.caller, target, self._status, digest, "", time.time())

    async def _send_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            if self._status == 200 and "bankmirror.keep" in self.scope:
                self._held = message
                return
            if self.fill is not None:
                # Nothing to keep: nobody need wait for the end of it.
                self._edge.hot.release(self.fill)
            await self._begin(message)
        elif self._held is None:
            await self._pass_on(message)
        elif message.get("more_body", False):
            await self._begin(self._held)
            self._held = None
            await self._pass_on(message)
        else:
            held, self._held = self._held, None
            await self._keep(held, message.get("body", b""))

    async def _refuse(self, message: Message) -> None:
        """Send what came in place of an answer that could have been kept."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            await self._begin(message)
        else:
            await self._pass_on(message)

    async def _begin(self, message: Message) -> None:
        headers = [*message["headers"], (b"request-id", self.request_id), (b"x-content-type-options", b"nosniff")]
        if self.caller is not None:
            headers += self.caller.limit_headers()
        await self.send({**message, "headers": headers})

    async def _pass_on(self, message: Message) -> None:
        body = b"" if self.method == "HEAD" else message.get("body", b"")
        if self.caller is not None:
            self._digest.update(body)
            self.caller.add_bytes(len(body))
        await self.send({**message, "body": body})

    async def _keep(self, start: Message, body: bytes) -> None:
        """The whole answer is there: keep it if a fill waits for it, and give it as if it had been kept before."""
        edge, scope, caller = self._edge, self.scope, self.caller
        keep: Keep = scope["bankmirror.keep"]
        assert caller is not None, "who is not let in has no reader, and so no such answer"
        key = (caller.scope_key, scope["raw_path"], scope["query_string"], self._sent.get(b"accept"))
        began = edge.clock() if self.fill is None else self.fill.began
        count = edge.metrics.route_count(getattr(scope.get("route"), "path", "unmatched"))
        entry = Entry(key, keep, began, start["headers"], body, count, most_age_asked(scope["query_string"]))
        if self.fill is not None:
            edge.hot.keep(self.fill, entry)
        try:
            # It may have taken long, and the token may be over by now.
            caller = await edge.access.still(caller, scope)
        except Problem as problem:
            await problem_response(problem)(scope, self._receive, self._refuse)
            return
        edge.hot.misses += 1
        self.is_settled = True
        # What holds for this request alone.
        own = [header for header in start["headers"] if header[0] == b"preference-applied"]
        await edge.give(entry, caller, self.method, self._sent, self.request_id, self.send, own)
