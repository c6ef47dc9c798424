"""The server that all processes share: what is not HTTP is a problem document too."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from kernel.http_server import AnswerHead, make_server
from tests.waiting import PATIENCE

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def slow_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, thinks a moment, answers; on /never, only when the client has gone."""
    if scope["type"] == "lifespan":
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})
        return
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    if scope["path"] == "/never":
        await receive()
        return
    await asyncio.sleep(0.2)
    headers = [(b"content-length", b"4"), (b"method", scope["method"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where the app is served."""
    server = make_server(AnswerHead(slow_app), host="127.0.0.1", port=0, drain_seconds=1, catch_signals=False)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE):
        while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


async def talk(port: int, *sent: bytes) -> bytes:
    """Everything that is answered until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        for part in sent:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.05)
        async with asyncio.timeout(PATIENCE):
            while chunk := await reader.read(65536):
                answer += chunk
    except ConnectionError:
        pass
    finally:
        writer.close()
    return answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"HELLO / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: four\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=["method", "two lengths", "no number", "negative", "raw bytes", "nul", "long", "bad chunk", "tls"],
)
async def test_what_is_not_http_is_a_problem(port: int, request_bytes: bytes) -> None:
    """400, problem+json, and the connection ends: nobody knows where the next request would begin."""
    head, _, body = (await talk(port, request_bytes)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    assert f"content-length: {len(body)}".encode() in head.lower()
    document = json.loads(body)
    assert (document["type"], document["status"]) == ("/problems/malformed-request", 400)
    assert document["retryable"] is False


async def test_a_refusal_is_never_taken_for_another_requests_answer(port: int) -> None:
    """Nonsense after a whole request that is worked on: no 400, which would say that nothing was done for it."""
    answer = await talk(port, b"POST /never HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", b"NONSENSE\r\n\r\n")

    assert answer == b""


async def test_nonsense_after_an_answer_is_refused(port: int) -> None:
    """The first request has had its answer; the refusal is the second one's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    assert (await reader.readuntil(b"done")).startswith(b"HTTP/1.1 200 OK")
    writer.write(b"NONSENSE\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_head_is_get_without_the_body(port: int) -> None:
    """Same headers, nothing after them."""
    head, _, body = (await talk(port, HEAD)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"content-length: 4" in head
    assert b"method: GET" in head
    assert body == b""
