"""What the HTTP layer withstands, against a server that sends raw bytes."""

import asyncio
import contextlib
import gzip
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cache

import httpx
import pytest

from banks.http import (
    CONNECT_TIMEOUT_SECONDS,
    AnswerUnusableError,
    BankHttp,
    CallFailedError,
    open_bank_http,
    within_origin,
)
from banks.ports import (
    BankAnswerInvalid,
    BankError,
    BankRefusedCredentials,
    BankThrottled,
    BankUnreachable,
)
from tests.integration.banks.raw_bank import (
    RawBank,
    Step,
    answer,
    bank_settings,
    cut,
    cutting,
    hang,
    problem,
    reset,
    trickling,
)
from tests.waiting import PATIENCE

OK = answer(200, {"data": []})
MEBIBYTE = 2**20


@asynccontextmanager
async def ours(
    bank: RawBank,
    *,
    deadline_seconds: float = PATIENCE,
    bytes_max: int = MEBIBYTE,
    waited: list[float] | None = None,
) -> AsyncIterator[BankHttp]:
    """Our side of a bank; it waits between attempts only in the list."""

    async def note(seconds: float) -> None:
        if waited is not None:
            waited.append(seconds)

    settings = bank_settings(bank, deadline_seconds=deadline_seconds, bytes_max=bytes_max)
    async with open_bank_http(settings, keep_alive=True) as http:
        yield replace(http, sleep=note)


async def test_a_request_is_what_it_should_be(bank: RawBank) -> None:
    """Our key in its header, our address under the base URL, and no way through the environment's proxy."""
    bank.answers(OK)

    async with ours(bank) as http:
        first = await http.get("/accounts", {"cursor": "a b&c=d", "limit": "500"})
        await http.get("/accounts", {})

    [request, _] = bank.requests
    assert (request.method, request.target) == ("GET", "/api/accounts?cursor=a+b%26c%3Dd&limit=500")
    assert request.headers["authorization"] == "Bearer the-key"
    assert request.headers["accept-encoding"] == "gzip"
    assert first.json() == {"data": []}
    assert len(bank.connections) == 1, "connections are kept between calls"


async def test_the_bank_tells_its_time(bank: RawBank) -> None:
    """The Date header is the bank's clock; a bad one is none."""
    bank.answers(answer(200, {}, Date="Sun, 22 Nov 2026 12:00:00 GMT"), answer(200, {}, Date="noon"))

    async with ours(bank) as http:
        told, untold = await http.get("/x", {}), await http.get("/x", {})

    assert told.bank_time is not None
    assert told.bank_time.isoformat() == "2026-11-22T12:00:00+00:00"
    assert untold.bank_time is None


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(hang, id="silence"),
        pytest.param(trickling(OK, pause_seconds=0.3), id="trickle of head and body"),
        pytest.param(
            trickling(b"HTTP/1.1 200 X\r\n" + b"X-Pad: aaaaaaaa\r\n" * 999, pause_seconds=0.01),
            id="endless head",
        ),
    ],
)
async def test_b6_the_deadline_is_for_the_whole_call(bank: RawBank, step: Step) -> None:
    """A bank that keeps sending a byte just in time does not keep us for longer than the deadline."""
    bank.answers(step)
    began = time.monotonic()

    async with ours(bank, deadline_seconds=1.5) as http:
        with pytest.raises(BankUnreachable, match=r"no complete answer within 1\.5 s"):
            await http.get("/x", {})

    # The bank would take half a minute for the shortest of its answers.
    assert 1.4 < time.monotonic() - began < 15
    assert len(bank.requests) == 1, "no attempt begins after the first one's deadline"


@cache
def bomb() -> bytes:
    """A quarter of a gibibyte of blanks, as 255 KiB of gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join([*(packer.compress(b" " * MEBIBYTE) for _ in range(256)), packer.flush()])


async def test_b7_a_gzip_bomb_costs_no_memory(bank: RawBank) -> None:
    """It is given up at the cap, and never unpacked beyond it."""
    bank.answers(answer(200, bomb(), Content_Encoding="gzip"))

    async with ours(bank, bytes_max=MEBIBYTE) as http:
        tracemalloc.start()
        with pytest.raises(BankAnswerInvalid, match="longer than 1048576 bytes"):
            await http.get("/x", {})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 5 * MEBIBYTE
    assert len(bank.requests) == 1, "what is too long is not asked for again"


async def test_b7_a_long_body_is_cut_off(bank: RawBank) -> None:
    """Whether its length is announced or not."""

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            await writer.drain()

    for step in (endless, answer(200, b" " * (2 * MEBIBYTE))):
        bank.answers(step)
        async with ours(bank) as http:
            with pytest.raises(BankAnswerInvalid, match="longer than"):
                await http.get("/x", {})


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, MEBIBYTE - 2])
async def test_packed_bodies_arrive_whole(bank: RawBank, size: int) -> None:
    """Also where the unpacked pieces end exactly at their bound, and up to the cap."""
    bank.answers(answer(200, gzip.compress(b'"' + b"x" * size + b'"'), Content_Encoding="gzip"))

    async with ours(bank) as http:
        assert (await http.get("/x", {})).json() == "x" * size


PACKED = gzip.compress(b'{"data": []}')


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (answer(200, b"<html>Maintenance</html>", "html"), "not declared as JSON"),
        (answer(200, b"<html>Maintenance</html>"), "not strict JSON"),
        (answer(200, b""), "not strict JSON"),
        (answer(200, b'{"data": ['), "not strict JSON"),
        (answer(200, b'{"a": 1, "a": 2}'), "not strict JSON"),
        (answer(200, b'{"a": NaN}'), "not strict JSON"),
        (answer(200, PACKED, Content_Encoding="br"), "not asked for"),
        (answer(200, PACKED[:-4], Content_Encoding="gzip"), "ends too early"),
        (answer(200, PACKED + b"more", Content_Encoding="gzip"), "ends too early or too late"),
        (answer(200, b"not gzip", Content_Encoding="gzip"), "cannot be unpacked"),
        (answer(204), "not strict JSON"),
    ],
)
async def test_b5_answers_that_are_not_the_banks_format(bank: RawBank, step: bytes, reason: str) -> None:
    """A 200 is not enough; and asking again at once would not help."""
    bank.answers(step)

    async with ours(bank) as http:
        with pytest.raises((BankAnswerInvalid, AnswerUnusableError), match=reason):
            (await http.get("/x", {})).json()

    assert len(bank.requests) == 1


async def test_b12_redirects_are_not_followed(bank: RawBank) -> None:
    """Not even to the bank itself: our key goes where the settings say."""
    for status in (301, 302, 303, 307, 308):
        bank.requests.clear()
        bank.answers(answer(status, Location=f"http://127.0.0.1:{bank.port}/elsewhere"))
        async with ours(bank) as http:
            with pytest.raises(BankAnswerInvalid, match="not followed"):
                await http.get("/x", {})
        assert len(bank.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [
        cut,
        reset,
        cutting(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n{"),
        cutting(b"garbage\r\n\r\n"),
        answer(500),
        answer(502, b"<html>", "html"),
        answer(503),
        problem(503, "maintenance", Retry_After="2"),
        answer(504),
        answer(408),
    ],
)
async def test_a_get_is_tried_again(bank: RawBank, failure: bytes | Step) -> None:
    """A hiccup of the bank costs an attempt and a short pause at random."""
    waited: list[float] = []
    bank.answers(failure, failure, OK)

    async with ours(bank, waited=waited) as http:
        assert (await http.get("/x", {})).status == 200

    assert len(bank.requests) == 3
    assert 0.1 <= waited[0] <= 0.25 < 0.5 <= waited[1] <= 1.0


async def test_a_get_is_not_tried_for_ever(bank: RawBank) -> None:
    """Three attempts, then it is the scheduler's."""
    bank.answers(answer(500))

    async with ours(bank) as http:
        with pytest.raises(BankUnreachable, match="HTTP 500"):
            await http.get("/x", {})

    assert len(bank.requests) == 3


async def test_b1_nobody_listens(bank: RawBank, unused_tcp_port: int) -> None:
    """Refused connections are tried again too, and told as what they are."""
    settings = bank_settings(bank, port=unused_tcp_port)
    async with open_bank_http(settings, keep_alive=True) as http:
        with pytest.raises(BankUnreachable, match="ConnectError"):
            await http.get("/x", {})


async def test_b3_a_short_pause_is_waited_for(bank: RawBank) -> None:
    """A second or two is cheaper here than in the scheduler."""
    waited: list[float] = []
    bank.answers(problem(429, "rate-limited", Retry_After="2"), OK)

    async with ours(bank, waited=waited) as http:
        assert (await http.get("/x", {})).status == 200

    assert waited == [2.0]


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ({"Retry_After": "3"}, timedelta(seconds=3)),
        ({"Retry_After": "99999999999"}, timedelta(days=1)),
        (
            {"Retry_After": "Sun, 22 Nov 2026 12:10:00 GMT", "Date": "Sun, 22 Nov 2026 12:00:00 GMT"},
            timedelta(minutes=10),
        ),
        ({}, None),
    ],
)
async def test_b3_a_long_pause_is_the_schedulers(
    bank: RawBank, header: dict[str, str], pause: timedelta | None
) -> None:
    """No connection is held for it; a date is read on the bank's own clock."""
    bank.answers(problem(429, "rate-limited", **header))

    async with ours(bank) as http:
        with pytest.raises(BankThrottled) as caught:
            await http.get("/x", {})

    assert caught.value.retry_after == pause
    assert len(bank.requests) == 1


async def test_t51_a_storm_of_negative_pauses_ends(bank: RawBank) -> None:
    """A bank that says minus three weeks for ever is asked three times, a second apart."""
    waited: list[float] = []
    bank.answers(problem(429, "rate-limited", Retry_After="-1875538"))

    async with ours(bank, waited=waited) as http:
        with pytest.raises(BankThrottled):
            await http.get("/x", {})

    assert waited == [1.0, 1.0]


async def test_a_bank_in_maintenance_says_when(bank: RawBank) -> None:
    """A 503 with a long pause is not hammered."""
    bank.answers(problem(503, "maintenance", Retry_After="3600"))

    async with ours(bank) as http:
        with pytest.raises(BankThrottled) as caught:
            await http.get("/x", {})

    assert caught.value.retry_after == timedelta(hours=1)


@pytest.mark.parametrize("status", [401, 403])
async def test_b4_refused_credentials_are_not_tried_again(bank: RawBank, status: int) -> None:
    """Hammering with a bad key locks it."""
    bank.answers(answer(status, b"<html>no</html>", "html"))

    async with ours(bank) as http:
        with pytest.raises(BankRefusedCredentials, match=str(status)):
            await http.get("/x", {})

    assert len(bank.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 100_000,
        b"{",
        b'{"type": 5}',
        b'{"type": "/problems/Not A Slug"}',
        b"[]",
        b'{"type": "/problems/"}',
    ],
)
async def test_an_error_without_a_readable_problem_is_still_an_error(bank: RawBank, body: bytes) -> None:
    """The status says it; what the bank wrote beside it is not believed, nor read at length."""
    bank.answers(answer(404, body))

    async with ours(bank) as http:
        refused = await http.get("/x", {})

    assert (refused.status, refused.problem_slug()) == (404, None)


@pytest.mark.parametrize(
    "failure",
    [
        cut,
        reset,
        hang,
        answer(500),
        answer(503, Retry_After="1"),
        answer(429, Retry_After="1"),
        answer(307, Location="/api/transactions"),
    ],
)
async def test_a_post_is_sent_once_and_exactly(bank: RawBank, failure: bytes | Step) -> None:
    """Whatever comes back, there is one request, and its body is ours to the byte."""
    body = b'{"amount_cents":1}'
    bank.answers(failure)

    async with ours(bank, deadline_seconds=1.5 if failure is hang else PATIENCE) as http:
        with contextlib.suppress(CallFailedError):
            await http.post_once("/transactions", body, {"Idempotency-Key": "tr_1"})

    [request] = bank.requests
    assert (request.method, request.target, request.body) == ("POST", "/api/transactions", body)
    assert request.headers["idempotency-key"] == "tr_1"
    assert request.headers["content-type"] == "application/json"


def transport_errors() -> list[type[httpx.TransportError]]:
    """Every way in which httpx says that a call failed."""

    def below(kind: type[httpx.TransportError]) -> list[type[httpx.TransportError]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in below(child))]

    return below(httpx.TransportError)


@pytest.mark.parametrize("kind", transport_errors())
async def test_only_a_failed_connection_is_certain_not_to_have_sent(kind: type[httpx.TransportError]) -> None:
    """Of all that may fail, now or in a later httpx, three things happen before the first byte."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise kind("injected", request=request)

    async with httpx.AsyncClient(base_url="http://bank", transport=httpx.MockTransport(fail)) as client:
        with pytest.raises(CallFailedError) as caught:
            await BankHttp(client, 5, MEBIBYTE).post_once("/transactions", b"{}", {})

    assert caught.value.sent == (kind not in (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))


async def test_a_cancelled_call_is_cancelled(bank: RawBank) -> None:
    """Cancellation is the caller's and is not turned into an outcome."""
    bank.answers(hang)
    async with ours(bank) as http:
        task = asyncio.create_task(http.post_once("/transactions", b"{}", {}))
        while not bank.requests:  # noqa: ASYNC110  The bank is not ours to ask for an event.
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_connecting_ends_well_before_the_deadline(bank: RawBank) -> None:
    """Name, address and TLS together stay within it, so that what was not sent is known not to have been."""
    async with ours(bank, deadline_seconds=8) as short, ours(bank, deadline_seconds=60) as long:
        assert (short.client.timeout.connect, short.client.timeout.pool) == (2, 2)
        assert long.client.timeout.connect == CONNECT_TIMEOUT_SECONDS


@pytest.mark.parametrize(
    "link",
    ["https://bank.example/v1/x?page=2", "/v1/x?page=2", "?page=2", "https://BANK.example:443/v1/x?page=2"],
)
def test_links_to_the_bank_itself(link: str) -> None:
    """Absolute or not, as long as it is the same bank."""
    assert within_origin("https://bank.example/v1/x", link) == "https://bank.example/v1/x?page=2"


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1",
        "//evil.example/v1",
        "http://bank.example/v1",
        "https://bank.example:8443/v1",
        "https://bank.example@evil.example/v1",
        "https://key@bank.example/v1",
        "https://bank.example.evil.example",
        "\\\\evil.example",
        "https://bank.example\\@evil.example",
        "https://[",
        "javascript:alert(1)",
        "https://bank.example:99999/",
    ],
)
def test_b12_links_that_lead_away(link: str) -> None:
    """A link cannot choose who gets our key."""
    with pytest.raises(BankError, match="link"):
        within_origin("https://bank.example/v1/x", link)
