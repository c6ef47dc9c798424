"""The outermost layer, in plain ASGI: what holds for every request, whoever answers it in the end.

A request gets an id, is refused when its size or its query is out of bounds, and is counted. This stands
outside of FastAPI because an answer that is kept in memory will be served from here without entering it.
"""

import time
import uuid
from urllib.parse import unquote_plus

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kernel import errors
from kernel.caller import ANONYMOUS
from kernel.problems import problem_response
from readapi.metrics import Metrics

# Bytes of path and query. Two ids of the longest kind and a cursor of both still fit, percent-encoded.
URL_BYTES = 32 * 1024
# Bytes of a request body. Nothing here reads one, so this only ends a nonsense early.
BODY_BYTES = 64 * 1024


class Edge:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["bankmirror.caller"] = ANONYMOUS
        started = time.perf_counter()
        request_id = str(uuid.uuid4())
        structlog.contextvars.bind_contextvars(request_id=request_id)
        asked_method = scope["method"]
        if asked_method == "HEAD":
            # HEAD is GET without the body, for every path. A copy: the server looks at its own for what was
            # asked.
            scope = {**scope, "method": "GET"}
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            elif asked_method == "HEAD":
                message["body"] = b""
            await send(message)

        try:
            refusal = _refuse(scope)
            app = self.app if refusal is None else problem_response(refusal)
            await app(scope, receive, send_on)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            self.metrics.observe(asked_method, route, status, time.perf_counter() - started)


def _refuse(scope: Scope) -> errors.Problem | None:
    query: bytes = scope["query_string"]
    if len(query) + len(scope["raw_path"]) > URL_BYTES:
        return errors.UriTooLong()
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > BODY_BYTES):
            return errors.PayloadTooLarge()
    if b"&" in query:
        # Whoever sends a parameter twice means something by it, and we could only guess what.
        names = [unquote_plus(pair.partition("=")[0]) for pair in query.decode("latin-1").split("&")]
        for name in names:
            if names.count(name) > 1:
                return errors.ValidationFailed.at(name, "must be given once")
    return None
