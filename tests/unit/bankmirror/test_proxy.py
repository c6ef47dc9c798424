"""The proxy passes money requests on once, as they came, and says what is known when no answer comes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
import uvicorn

from bankmirror.proxy import Proxy
from tests.waiting import PATIENCE

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: then\r\nConnection: keep-alive\r\nX-Kept: yes\r\n\r\n{}"
ORDER = b'{"amount_cents": 2500}'


@dataclass
class Upstream:
    """The other side: what arrived, byte for byte, and what it does then."""

    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(OK)
    await writer.drain()


@asynccontextmanager
async def proxied(handler: Handler = reply, *, answer_seconds: float = PATIENCE) -> AsyncIterator[tuple[Upstream, str]]:
    """A proxy on a port of its own, before an upstream on another; the upstream and the proxy's URL."""
    upstream = Upstream()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                upstream.heads.append(head)
                upstream.begun.set()
                lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                upstream.bodies.append(await reader.readexactly(int(lengths[0]) if lengths else 0))
                await handler(reader, writer, head)
        except asyncio.IncompleteReadError:
            upstream.gone.set()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy(f"http://127.0.0.1:{port}", answer_seconds=answer_seconds)
    config = uvicorn.Config(proxy, host="127.0.0.1", port=0, lifespan="off", log_config=None, http="httptools")
    front = uvicorn.Server(config)
    task = asyncio.create_task(front.serve())
    async with asyncio.timeout(PATIENCE):
        while not front.started:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.01)
    try:
        yield upstream, f"http://127.0.0.1:{front.servers[0].sockets[0].getsockname()[1]}"
    finally:
        front.should_exit = True
        await task
        await proxy.close()
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as made:
        yield made


async def test_request_and_answer_pass_unchanged() -> None:
    """All arrives as it was sent, but for the headers that concern one connection."""
    async with proxied() as (upstream, url), client() as http:
        headers = {
            "Authorization": "Bearer t",
            "Idempotency-Key": "k",
            "Connection": "X-Hop",
            "X-Hop": "1",
            "TE": "trailers",
        }
        answer = await http.post(f"{url}/banking/transfer?a=%2F&b=c d", content=ORDER, headers=headers)

    (head,) = upstream.heads
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "post /banking/transfer?a=%2f&b=c%20d http/1.1"
    assert {"authorization: bearer t", "idempotency-key: k"} <= set(lines)
    assert not any(line.startswith(("x-hop", "te:", "connection: x-hop")) for line in lines)
    assert upstream.bodies == [ORDER]
    assert (answer.status_code, answer.content, answer.headers["x-kept"]) == (200, b"{}", "yes")
    assert len(answer.headers.get_list("date")) == 1


async def test_nobody_listens() -> None:
    """Nothing can have happened, and the answer says so and invites to try again."""
    proxy = Proxy("http://127.0.0.1:1", answer_seconds=1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(proxy), base_url="http://front") as http:
        answer = await http.post("/banking/transfer", content=ORDER)
    await proxy.close()

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["type"] == "/problems/transfers-unavailable"


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
    """Read everything, maybe do it, and close without a word."""
    writer.close()


async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
    assert await reader.read(1) == b"", "until the other side gives up"


@pytest.mark.parametrize(("handler", "answer_seconds"), [(hang_up, PATIENCE), (never_answer, 1.5)])
async def test_post_without_an_answer_is_sent_once_and_unknown(handler: Handler, answer_seconds: float) -> None:
    """The money may have moved: no second attempt of ours, and an answer that says how to find out."""
    async with proxied(handler, answer_seconds=answer_seconds) as (upstream, url), client() as http:
        with_key = await http.post(f"{url}/banking/transfer", content=ORDER, headers={"Idempotency-Key": "k"})
        without = await http.post(f"{url}/banking/transfer", content=ORDER)

    assert upstream.bodies == [ORDER, ORDER], "one for each request, never a retry"
    assert [with_key.status_code, without.status_code] == [503, 503]
    assert with_key.json()["type"] == without.json()["type"] == "/problems/outcome-unknown"
    assert "same Idempotency-Key" in with_key.json()["detail"]
    assert with_key.headers["retry-after"] == "2"
    assert with_key.json()["retryable"] is True
    # The same request again would be a second transfer: nobody is invited to send it.
    assert "retry-after" not in without.headers
    assert without.json()["retryable"] is False
    assert "activity" in without.json()["detail"]


async def test_get_without_an_answer_is_no_doubt_about_money() -> None:
    """A question that was not answered changed nothing."""
    async with proxied(hang_up) as (_, url), client() as http:
        answer = await http.get(f"{url}/banking/transfers/1")

    assert answer.json()["type"] == "/problems/transfers-unavailable"


async def test_answer_that_breaks_off_is_not_made_whole() -> None:
    """Half an answer must not look like one."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    async with proxied(half) as (_, url), client() as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.post(f"{url}/banking/transfer", content=ORDER)


@pytest.mark.parametrize(
    ("framing", "begun"),
    [(b"Content-Length: 22", ORDER[:10]), (b"Transfer-Encoding: chunked", b"a\r\n" + ORDER[:10] + b"\r\n")],
    ids=["length", "chunked"],
)
async def test_request_that_breaks_off_is_not_made_whole(framing: bytes, begun: bytes) -> None:
    """A client that goes away in the middle of its body: the other side never sees an end of it."""
    arrived = bytearray()

    async def read_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        while chunk := await reader.read(1000):
            arrived.extend(chunk)

    async with proxied(read_on) as (upstream, url):
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"POST /banking/transfer HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + begun)
        await writer.drain()
        await asyncio.wait_for(upstream.begun.wait(), PATIENCE)
        writer.close()
        await asyncio.wait_for(upstream.gone.wait(), PATIENCE)

    assert ORDER not in upstream.bodies
    assert not arrived.endswith(b"0\r\n\r\n"), "the end of a chunked body"


async def test_client_that_leaves_is_not_waited_for() -> None:
    """A client that goes away while it waits: the connection to the other side is given up, too."""
    waiting, left = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        waiting.set()
        assert await reader.read(1) == b""
        left.set()

    async with proxied(wait) as (upstream, url), client() as http:
        asking = asyncio.create_task(http.post(f"{url}/banking/transfer", content=ORDER))
        await asyncio.wait_for(waiting.wait(), PATIENCE)
        asking.cancel()
        await asyncio.wait_for(left.wait(), PATIENCE)

    assert upstream.bodies == [ORDER]


async def test_long_bodies_are_streamed() -> None:
    """The first chunk goes on before the last one has come."""
    arrived = asyncio.Event()

    async def echo_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await writer.drain()
        await asyncio.wait_for(arrived.wait(), PATIENCE)
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        await writer.drain()

    async with (
        proxied(echo_slowly) as (_, url),
        client() as http,
        http.stream("GET", f"{url}/banking/transfers") as answer,
    ):
        chunks = []
        async for chunk in answer.aiter_raw():
            chunks.append(chunk)
            arrived.set()

    assert chunks == [b"first", b"last"]


async def test_each_request_has_a_connection_of_its_own() -> None:
    """A kept connection may be closed just as it is written to, and then nobody knows what arrived."""
    async with proxied() as (upstream, url), client() as http:
        for _ in range(3):
            assert (await http.post(f"{url}/banking/transfer", content=ORDER)).status_code == 200

    assert upstream.connections == 3


@pytest.mark.parametrize("target", [b"/banking/transfer\xc3\xa9", b"/banking/transfer/../x", b"/banking/transfer%00"])
async def test_strange_paths_are_passed_on_as_they_are(target: bytes) -> None:
    """Whoever understands paths is at the other side; here none is decoded, joined or cleaned."""
    async with proxied() as (upstream, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()

    assert b" 500 " not in status
    assert all(head.split()[1] == target for head in upstream.heads)
