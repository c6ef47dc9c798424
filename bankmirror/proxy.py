"""A small reverse proxy for requests that move money: it passes them on once, as they came, and never again.

Both bodies are streamed. When no answer comes, the client is told whether its request can have had an effect.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import structlog
from starlette.types import Message, Receive, Scope, Send

from kernel.errors import OutcomeUnknown, Problem, TransfersUnavailable
from kernel.problems import problem_response

log = structlog.get_logger()

# These concern one connection and not the request (RFC 9110, 7.6.1). The host goes along as the client named it: who
# has no token is let in only where it is this machine.
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CONNECT_SECONDS = 2.0
# A process that died is started again within a second or two.
_RETRY_SECONDS = 2


# What the client is told when no answer came.
Explain = Callable[[httpx.Request, httpx.TransportError], Problem]


class _ClientGone(Exception):
    """Nobody waits for the answer any more, or the rest of the request will never come."""


class Proxy:
    """ASGI application that forwards every request to one address."""

    def __init__(self, upstream_url: str, *, answer_seconds: float, unavailable: Explain | None = None) -> None:
        self._upstream = httpx.URL(upstream_url)
        self._explain = unavailable or _problem
        # A connection of its own for each request costs a tenth of a millisecond here, and no request is ever
        # written to one that the other side is just closing, which looks the same as an answer that got lost.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(limits=limits, trust_env=False, follow_redirects=False)
        self._timeout = httpx.Timeout(answer_seconds, connect=_CONNECT_SECONDS).as_dict()

    async def close(self) -> None:
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange(receive, send)
        request = httpx.Request(
            scope["method"],
            self._upstream,
            headers=_forwarded(scope["headers"]),
            content=exchange.request_body() if _has_body(scope["headers"]) else None,
            # As a request target and not as a URL: that would be cleaned, and reach what was not asked for.
            extensions={"timeout": self._timeout, "target": _target(scope)},
        )
        try:
            await exchange.run(self._client, request)
        except _ClientGone:
            log.info("client went away", path=scope["path"])
        except httpx.TransportError as error:
            log.warning(
                "upstream did not answer",
                upstream=str(self._upstream),
                path=scope["path"],
                method=scope["method"],
                error=type(error).__name__,
            )
            # Once an answer has begun it cannot be taken back: it is cut off, and the client sees that.
            if exchange.answering:
                raise
            await problem_response(self._explain(request, error))(scope, receive, send)


class _Exchange:
    """One request and its answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._sent_whole = asyncio.Event()
        self.answering = False

    async def request_body(self) -> AsyncIterator[bytes]:
        """The client's body as it arrives. Raises when it breaks off: half a body must never look whole."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            yield message.get("body", b"")
            more = message.get("more_body", False)
        self._sent_whole.set()

    async def run(self, client: httpx.AsyncClient, request: httpx.Request) -> None:
        """Forward, and stop when the client goes away: transfers works on, and answers its next question."""
        if "content-length" not in request.headers and "transfer-encoding" not in request.headers:
            self._sent_whole.set()
        forwarding = asyncio.create_task(self._forward(client, request))
        leaving = asyncio.create_task(self._wait_for_leave())
        try:
            await asyncio.wait({forwarding, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not forwarding.done():
                raise _ClientGone
            await forwarding
        finally:
            forwarding.cancel()
            leaving.cancel()
            await asyncio.gather(forwarding, leaving, return_exceptions=True)

    async def _wait_for_leave(self) -> None:
        await self._sent_whole.wait()
        message: Message = {}
        while message.get("type") != "http.disconnect":
            message = await self._receive()

    async def _forward(self, client: httpx.AsyncClient, request: httpx.Request) -> None:
        response = await client.send(request, stream=True)
        try:
            # The server that we run in says the date itself.
            headers = [item for item in _forwarded(response.headers.raw) if item[0].lower() != b"date"]
            self.answering = True
            await self._send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            async for chunk in response.aiter_raw():
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            await self._send({"type": "http.response.body", "body": b""})
        finally:
            await response.aclose()


def _target(scope: Scope) -> bytes:
    """Path and query exactly as they were sent."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


def _forwarded(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without what concerns one connection only, including what the Connection header itself names."""
    named = {
        word.strip().lower() for name, value in headers if name.lower() == b"connection" for word in value.split(b",")
    }
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP and name.lower() not in named]


def _has_body(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)


def _problem(request: httpx.Request, error: httpx.TransportError) -> Problem:
    """What the client may conclude. Only a connection that was never made proves that nothing happened."""
    if request.method in _SAFE or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return TransfersUnavailable("the transfers service does not answer; nothing was changed by this request")
    if "idempotency-key" in request.headers:
        detail = "the transfer may have been made; send the same request again with the same Idempotency-Key"
        return OutcomeUnknown(detail, retry_after_seconds=_RETRY_SECONDS)
    # Without a key the same request again would be a second transfer, so nobody is invited to repeat it.
    detail = "the transfer may have been made; look at the account's activity before you send another"
    return OutcomeUnknown(detail)
