"""The HTTP server under every process that answers: uvicorn, with the same defaults everywhere."""

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from kernel.errors import MalformedRequest
from kernel.problems import problem_response

# In the state of its lifespan an application leaves what makes answers end that have no end of their own.
END_STREAMS = "bankmirror.end_streams"
# The extension of ASGI that this server offers, as a function in a request's `extensions`: it sends an answer that is
# bytes already. uvicorn looks at each header with two regular expressions, which for a dozen of them takes as long as
# all the rest of an answer from memory.
WRITE_WHOLE = "bankmirror.write_whole"
# Status line and headers, each line with its end; then the body.
WriteWhole = Callable[[bytes, bytes], Awaitable[None]]


async def _write_whole(cycle: RequestResponseCycle, head: bytes, body: bytes) -> None:
    """Send a whole answer in one write. Its head is taken as it is: whoever made it answers for it."""
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    cycle.response_started = cycle.response_complete = True
    ours = b"".join([b"%s: %s\r\n" % header for header in cycle.default_headers])
    if not cycle.keep_alive:
        ours += b"connection: close\r\n"
    cycle.transport.write(b"".join((head, ours, b"\r\n", body)))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


class _Protocol(HttpToolsProtocol):
    """Refuses what is not HTTP with a problem document, too, not with uvicorn's line of text. Offers WRITE_WHOLE."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        extension = {WRITE_WHOLE: partial(_write_whole, cycle)}
        cycle.scope["extensions"] = extension  # type: ignore[typeddict-item]  # ASGI lets an extension be anything
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        # None before the first request, whatever its declaration says.
        cycle: RequestResponseCycle | None = self.cycle
        # The nonsense came after a whole request whose answer is still to come. A refusal would be taken for that
        # answer, and it may be a transfer: say nothing, so that the client has to ask again.
        idle = cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started)
        if idle and not self.pipeline:
            response = problem_response(MalformedRequest())
            head = [*self.server_state.default_headers, *response.raw_headers, (b"connection", b"close")]
            lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in head)]
            self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        self.transport.close()


class Server(uvicorn.Server):
    """Ends by returning. uvicorn's own raises the signal again afterwards, and kills the process with it."""

    def __init__(self, config: uvicorn.Config, *, catch_signals: bool) -> None:
        super().__init__(config)
        self._catch_signals = catch_signals

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Answers that have no end of their own, as streams, would be cut off when the time to drain is over.
        end = self.lifespan.state.get(END_STREAMS)
        if end is not None:
            end()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if not self._catch_signals:
            yield
            return
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def make_server(app: ASGIApp, *, host: str, port: int, drain_seconds: int, catch_signals: bool = True) -> Server:
    """A server that ends on SIGTERM or SIGINT, or, without `catch_signals`, when `should_exit` is set.

    `drain_seconds` is for requests that are under way then.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=_Protocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # What a header says of an address is not believed: addresses only tell who fails often, and there a proxy's
        # counts for nobody.
        proxy_headers=False,
        timeout_graceful_shutdown=drain_seconds,
    )
    return Server(config, catch_signals=catch_signals)


class AnswerHead:
    """ASGI middleware: HEAD is GET without the body, for every path."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # A copy: the server looks at its own for what was asked.
        await self.app({**scope, "method": "GET"}, receive, send_head)
