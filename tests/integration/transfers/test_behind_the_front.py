"""Transfers as clients meet it: through the front, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
import structlog
from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from bankmirror.front import FrontSettings, make_front
from bankmirror.proxy import Proxy
from kernel.http_server import make_server
from tests.integration.transfers.conftest import BODY
from tests.integration.transfers.model_bank import ModelBank
from tests.waiting import PATIENCE
from transfers.app import make_app
from transfers.settings import TransfersSettings

TOKEN = "t" * 40


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The URL of an app on a port of its own."""
    server = make_server(app, host="127.0.0.1", port=0, drain_seconds=2, catch_signals=False)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(PATIENCE):
        while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def fronted(settings: TransfersSettings, bank: ModelBank, token: SecretStr | None) -> AsyncIterator[str]:
    """The URL of a front with transfers behind it."""
    async with AsyncExitStack() as stack:
        transfers = make_app(settings.model_copy(update={"api_token": token}), bank)
        proxy = Proxy(await stack.enter_async_context(served(transfers)), answer_seconds=PATIENCE)
        stack.push_async_callback(proxy.close)
        url = settings.database_url.get_secret_value()
        front = FrontSettings(_env_file=None, DATABASE_URL=url, mode="sandbox", api_token=token)
        yield await stack.enter_async_context(served(make_front(front, proxy)))


@pytest.fixture
async def front(settings: TransfersSettings, bank: ModelBank) -> AsyncIterator[str]:
    """The front's URL; a token is asked for."""
    async with fronted(settings, bank, SecretStr(TOKEN)) as url:
        yield url


@pytest.fixture
async def client(front: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that has the token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=front, headers=headers, trust_env=False, timeout=PATIENCE) as made:
        yield made


async def raw(front: str, request: bytes) -> bytes:
    """The answer to a request that no client would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(front).port)
    writer.write(request)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    return answer


async def test_without_a_token_only_for_this_machine(settings: TransfersSettings, bank: ModelBank) -> None:
    """A page in a browser, whose name was led here or which only sends, moves no money; who means it does."""
    async with fronted(settings, bank, None) as url, httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        order = f"{url}/banking/transfer"
        for led_here in ({"Host": "bank.example"}, {"Origin": "https://bank.example"}, {"Origin": "null"}):
            answer = await http.post(order, json=BODY, headers=led_here)
            assert (answer.status_code, answer.json()["type"]) == (421, "/problems/host-refused")
        assert not bank.posts
        assert (await http.post(order, json=BODY)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs/transfers",
        "/banking/transfer",
        "/banking/transfer/",
        "/banking/transfers",
        "/banking/transfers/",
        "/banking/transfers/x/",
        "/banking/accounts/",
    ],
)
async def test_no_location_names_a_port(client: httpx.AsyncClient, method: str, path: str) -> None:
    """What is behind the front stays there: whoever followed it would go around the front, or nowhere."""
    answer = await client.request(method, path, json=BODY if method == "POST" else None)

    assert "://" not in answer.headers.get("location", "")
    if path.endswith("transfer/"):
        assert answer.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        b"/docs/../banking/accounts",
        b"/docs/%2e%2e/banking/accounts",
        b"//banking/accounts",
        b"/problems/../banking/balances",
        b"/docs/static/%2e%2e/%2e%2e/banking/accounts",
        b"/docs/transfers/../../banking/transfers/1",
        b"/banking/transfer",
        b"/banking/transfers/../docs",
        b"/metrics",
    ],
)
async def test_no_path_leads_around_the_token(front: str, path: bytes) -> None:
    """Written as no client would write it."""
    answer = await raw(front, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_the_documentation_answers_anybody(front: str) -> None:
    """It says nothing about money, and is where one learns that a token is needed."""
    async with httpx.AsyncClient(base_url=front, trust_env=False) as anybody:
        for path in ("/docs", "/docs/static/docs.js", "/openapi.json", "/problems", "/problems/outcome-unknown"):
            assert (await anybody.get(path)).status_code == 200, path
        assert (await anybody.get("/docs/transfers/")).status_code == 200
        described = (await anybody.get("/docs/transfers/openapi.json")).json()

    assert described["info"]["title"] == "Bankmirror transfers"


async def test_head_answers_as_get_does(client: httpx.AsyncClient) -> None:
    """Of a transfer that is there and of one that is not; where only POST is, HEAD is not."""
    location = (await client.post("/banking/transfer", json=BODY)).headers["location"]
    got, head = await client.get(location), await client.head(location)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    missing = "/banking/transfers/01993b6e-2f5c-7c1e-9d2a-6f0c5f1f9a11"
    assert (await client.head(missing)).status_code == 404
    assert (await client.get(missing)).json()["detail"] == "no transfer has this id"
    assert (await client.head("/banking/transfer")).status_code == 405


async def test_times_are_written_alike(client: httpx.AsyncClient) -> None:
    """Both services end a time in +00:00, so that texts can be compared."""
    told = (await client.post("/banking/transfer", json=BODY)).json()
    history = (await client.get(f"/banking/transfers/{told['transfer_id']}")).json()
    (entry,) = (await client.get(f"/banking/accounts/{BODY['account_id']}/activity")).json()

    assert entry["created_at"].endswith("+00:00")
    assert told["created_at"].endswith("+00:00")
    assert all(attempt["started_at"].endswith("+00:00") for attempt in history["attempts"])
    assert all(event["at"].endswith("+00:00") for event in history["events"])


async def test_a_body_that_breaks_off_is_no_error_of_ours(settings: TransfersSettings, bank: ModelBank) -> None:
    """Clients go away. Nothing is recorded, and nothing is in the log for anybody to look into."""
    begun, ended = asyncio.Event(), asyncio.Event()
    app = make_app(settings, bank)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        begun.set()
        try:
            await app(scope, receive, send)
        finally:
            ended.set()

    with structlog.testing.capture_logs() as logs:
        async with served(watched) as url:
            _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
            writer.write(
                b"POST /banking/transfer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b'Content-Length: 100\r\n\r\n{"account_id"'
            )
            await writer.drain()
            await begun.wait()
            writer.close()
            await ended.wait()

    assert [line for line in logs if line["log_level"] in ("error", "critical")] == []
    assert bank.posts == []
