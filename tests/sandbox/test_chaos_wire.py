"""Faults that only a real connection shows: what is on the wire is what the catalogue says."""

import asyncio
import logging
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sandbox.chaos.answers import gzip_bomb

ORDER = {"source_account_id": "acct_123", "destination_account_id": "acct_456", "amount_cents": 7, "type": "transfer"}


@pytest.fixture
async def served(bank_address: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[httpx.AsyncClient]:
    """The module's bank on a socket. Whatever it breaks, its server finds nothing wrong with itself."""
    headers = {"Authorization": "Bearer sandbox-key"}
    with caplog.at_level(logging.ERROR):
        async with httpx.AsyncClient(base_url=bank_address, headers=headers, trust_env=False, timeout=30) as client:
            yield client
    assert [record.getMessage() for record in caplog.records] == []


async def script(client: httpx.AsyncClient, fault: str, **wanted: Any) -> None:
    response = await client.post("/_chaos", json={"fault": fault, **wanted})
    assert response.status_code == 201, response.text


async def read_raw(client: httpx.AsyncClient, path: str) -> bytes:
    """Everything that comes back, up to the end of the connection. Raises ConnectionResetError for an RST."""
    where = urlsplit(str(client.base_url))
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bank\r\nAuthorization: Bearer sandbox-key\r\n\r\n".encode())
        await writer.drain()
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_b1_closed_without_an_answer(served: httpx.AsyncClient) -> None:
    """An end of file (FIN) and not a byte before it."""
    await script(served, "connection-closed")

    assert await read_raw(served, "/accounts") == b""


async def test_b1_reset(served: httpx.AsyncClient) -> None:
    """An RST: the system itself says that something broke."""
    await script(served, "connection-reset")

    with pytest.raises(ConnectionResetError):
        await read_raw(served, "/accounts")


async def test_b1_no_answer_for_a_while(served: httpx.AsyncClient) -> None:
    """Nothing for the time that was asked for, then the end."""
    loop = asyncio.get_running_loop()
    await script(served, "hang", seconds=0.5)
    began = loop.time()

    assert await read_raw(served, "/balances") == b""
    assert loop.time() - began >= 0.45


async def test_b5_the_body_is_shorter_than_announced(served: httpx.AsyncClient) -> None:
    """The Content-Length is that of the whole, and the connection ends in the middle."""
    await script(served, "truncated-body")

    head, _, body = (await read_raw(served, "/accounts")).partition(b"\r\n\r\n")
    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < announced
    assert announced == len((await served.get("/accounts")).content)


async def test_b5_the_json_is_cut_and_counted_right(served: httpx.AsyncClient) -> None:
    """HTTP is in order; the document is not."""
    await script(served, "truncated-json")

    response = await served.get("/accounts")

    assert int(response.headers["content-length"]) == len(response.content)
    assert (await served.get("/accounts")).content.startswith(response.content)
    with pytest.raises(ValueError, match=r"delimiter|Unterminated|Expecting"):
        response.json()


async def test_b6_a_trickle(served: httpx.AsyncClient) -> None:
    """The right bytes, spread over the time that was asked for."""
    right = (await served.get("/accounts")).content
    await script(served, "slow-trickle", seconds=1.5)
    began = asyncio.get_running_loop().time()

    async with served.stream("GET", "/accounts") as response:
        chunks = [chunk async for chunk in response.aiter_raw()]

    assert b"".join(chunks) == right
    assert len(chunks) > 3
    assert asyncio.get_running_loop().time() - began >= 1.0


async def test_b6_who_leaves_a_trickle_leaves_nothing_behind(served: httpx.AsyncClient) -> None:
    """The bank goes on at once with others; the test's end shows that no task hung on."""
    await script(served, "slow-trickle", seconds=100)

    async with served.stream("GET", "/accounts") as response:
        async for _ in response.aiter_raw():
            break

    assert (await served.get("/accounts")).status_code == 200


async def test_b7_a_gzip_bomb(served: httpx.AsyncClient) -> None:
    """A thousandth on the wire, valid gzip, valid JSON."""
    await script(served, "gzip-bomb", unpacked_bytes=20_000_000)

    async with served.stream("GET", "/transactions") as response:
        packed = b"".join([chunk async for chunk in response.aiter_raw()])

    assert response.headers["content-encoding"] == "gzip"
    assert len(packed) < 100_000
    unpacked = zlib.decompress(packed, zlib.MAX_WBITS | 16)
    assert len(unpacked) == 20_000_000
    assert httpx.Response(200, content=unpacked).json() == {"data": [], "next_cursor": None}


def test_b7_the_bomb_is_made_while_it_is_sent() -> None:
    """Memory stays flat, however large it is."""
    tracemalloc.start()
    try:
        packed_bytes = sum(len(piece) for piece in gzip_bomb(200 << 20))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert packed_bytes < (200 << 20) / 500
    assert peak_bytes < 8 << 20


@pytest.mark.parametrize(
    ("fault", "status", "media_type"),
    [
        ("error-500", 500, "application/problem+json"),
        ("error-502", 502, "text/html"),
        ("error-503", 503, "application/problem+json"),
        ("error-504", 504, "text/html"),
        ("error-520", 520, "application/problem+json"),
        ("unauthorized", 401, "application/problem+json"),
        ("forbidden", 403, "application/problem+json"),
        ("html", 200, "text/html; charset=utf-8"),
        ("html-as-json", 200, "application/json"),
        ("empty-body", 200, "application/json"),
    ],
)
async def test_b2_b4_b5_answers_of_somebody_else(
    served: httpx.AsyncClient, fault: str, status: int, media_type: str
) -> None:
    """The status and the kind of body that the catalogue names; the next request is answered as ever."""
    await script(served, fault)

    response = await served.get("/accounts")

    assert (response.status_code, response.headers["content-type"]) == (status, media_type)
    assert (fault == "empty-body") == (response.content == b"")
    assert (await served.get("/accounts")).json()["data"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("throttled-seconds", "1"),
        ("throttled-week", "604800"),
        ("throttled-negative", "-1875538"),
        ("throttled-text", "soon"),
        ("throttled-missing", None),
    ],
)
async def test_b3_t51_retry_after(served: httpx.AsyncClient, fault: str, told: str | None) -> None:
    """429 with what banks really wrote there; a script can write something else."""
    await script(served, fault)
    await script(served, fault, retry_after="17")

    first, second = await served.get("/balances"), await served.get("/balances")

    assert (first.status_code, first.headers.get("retry-after")) == (429, told)
    assert (second.status_code, second.headers.get("retry-after")) == (429, "17")


async def test_b3_retry_after_as_a_date(served: httpx.AsyncClient) -> None:
    """The other form that HTTP allows, a little in the future of the bank's own clock."""
    await script(served, "throttled-date")

    response = await served.get("/balances")

    wait = parsedate_to_datetime(response.headers["retry-after"]) - parsedate_to_datetime(response.headers["date"])
    assert 0 < wait.total_seconds() <= 10


async def test_b12_a_redirect_to_another_host(served: httpx.AsyncClient) -> None:
    """307 to wherever a test has its trap; by chance to a host that exists nowhere."""
    await script(served, "redirect")
    await script(served, "redirect", location="http://127.0.0.1:1/trap")

    first, second = await served.get("/accounts"), await served.get("/accounts")

    assert (first.status_code, httpx.URL(first.headers["location"]).host) == (307, "elsewhere.invalid")
    assert second.headers["location"] == "http://127.0.0.1:1/trap"


async def paid(client: httpx.AsyncClient, key: str) -> httpx.Response:
    return await client.post("/transactions", json=ORDER, headers={"Idempotency-Key": key})


@pytest.mark.parametrize("fault", ["pay-lost-after", "pay-hang-after", "pay-truncated-after"])
async def test_w2_w3_paid_and_not_told(served: httpx.AsyncClient, fault: str) -> None:
    """The answer is lost, and the money has moved: the same key finds it."""
    await script(served, fault, seconds=0.2)

    with pytest.raises(httpx.RemoteProtocolError):
        await paid(served, fault)

    again = await paid(served, fault)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")


@pytest.mark.parametrize(
    ("fault", "status"), [("pay-500-after", 500), ("pay-html-after", 200), ("pay-echo-differs", 201)]
)
async def test_w3_w4_w9_paid_and_told_wrongly(served: httpx.AsyncClient, fault: str, status: int) -> None:
    """An error, a page of HTML, another amount: and the money has moved all the same."""
    await script(served, fault)

    first, again = await paid(served, fault), await paid(served, fault)

    assert first.status_code == status
    assert (again.status_code, again.json()["amount_cents"]) == (200, -7)
    assert first.content != again.content


async def test_w2_w6_not_paid(served: httpx.AsyncClient) -> None:
    """What fails before the bank has looked is not paid: the key is new to it afterwards."""
    for fault, status in (("pay-503-before", 503), ("pay-429-before", 429)):
        await script(served, fault)
        assert (await paid(served, fault)).status_code == status
        assert (await paid(served, fault)).status_code == 201
    await script(served, "pay-closed-before")
    with pytest.raises(httpx.RemoteProtocolError):
        await paid(served, "pay-closed-before")
    assert (await paid(served, "pay-closed-before")).status_code == 201


async def test_a_payment_is_made_once_however_many_faults_are_tried(served: httpx.AsyncClient) -> None:
    """A decline names no amount to change: the bank is not asked again, and the script waits for a payment."""
    await script(served, "pay-echo-differs", times=1)
    poor = ORDER | {"amount_cents": 10**14}

    declined = await served.post("/transactions", json=poor, headers={"Idempotency-Key": "poor"})

    assert (declined.status_code, declined.json()["type"]) == (422, "/problems/insufficient-funds")
    assert len((await served.get("/_chaos")).json()["queue"]) == 1
    assert (await paid(served, "rich")).json()["amount_cents"] == -8
