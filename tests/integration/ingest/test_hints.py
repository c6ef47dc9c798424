"""Who says that something changed is heard by a real ingest process, and believed in nothing else."""

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from ingest import store, webhooks
from ingest.webhooks import BODY_BYTES_MAX, make_app
from kernel.database import Pool
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.http_bank import HttpBank, serve_bank
from tests.integration.ingest.model_bank import ModelBank, ModelReader
from tests.integration.ingest.test_process import ingest
from tests.integration.readapi.mirror import asking
from tests.waiting import free_port, until

SECRET = "the secret of the bank"
CHANGES = "/transactions/changes"


def signed(document: object, *, at: float | None = None, secret: str = SECRET) -> dict[str, Any]:
    """The arguments of a POST as the bank sends it."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    seconds = int(time.time() if at is None else at)
    mac = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {"content": body, "headers": {"X-Signature": f"t={seconds},v1={mac}"}}


# ── the door ────────────────────────────────────────────────────────────────────────────────────────────────


class Door:
    """The route in this process, and what it made due."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.hastened: list[list[str] | None] = []

    async def post(self, **arguments: Any) -> httpx.Response:
        """One message."""
        return await self.client.post("/webhooks/bank", **arguments)


@asynccontextmanager
async def open_door(pool: Pool, secret: str | None = SECRET) -> AsyncIterator[Door]:
    """See Door."""
    hastened: list[list[str] | None] = []
    app = make_app(pool, "default", secret, lambda ids: hastened.append(None if ids is None else list(ids)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
        door = Door(client)
        door.hastened = hastened
        yield door


@pytest.fixture
async def door(pool: Pool, mirror: Mirror, bank: ModelBank) -> AsyncIterator[Door]:
    """An open door at a connection that is known."""
    await mirror.open(ModelReader(bank))
    async with open_door(pool) as opened:
        yield opened


async def test_t56_a_message_is_taken_once(door: Door, mirror: Mirror) -> None:
    """Sent again, it is answered alike and makes nothing due; the signature is what tells it."""
    message = signed({"event": "transactions.updated", "account_ids": ["acct_a"], "amount_cents": 1_000_000})

    answers = [await door.post(**message) for _ in range(3)]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(202, {"taken": True})] * 3
    assert door.hastened == [["acct_a"]]
    assert await mirror.ask("SELECT count(*), min(event) FROM sync.webhooks") == [(1, "transactions.updated")]


@pytest.mark.parametrize("document", [{"event": "balances.updated"}, {"event": "x", "account_ids": []}, {}])
async def test_a_message_that_names_no_account_is_about_all(document: object, door: Door) -> None:
    """Whatever a bank calls its event."""
    assert (await door.post(**signed(document))).status_code == 202
    assert door.hastened == [None]


def _twice() -> dict[str, Any]:
    message = signed({})
    return {**message, "headers": [*message["headers"].items()] * 2}


@pytest.mark.parametrize(
    ("make", "status", "slug"),
    [
        (lambda: {"content": b"{}"}, 401, "webhook-refused"),
        (lambda: signed({}, secret="somebody else's secret"), 401, "webhook-refused"),
        (lambda: signed({}, at=0), 401, "webhook-refused"),
        (lambda: {**signed({}), "content": b"{ }"}, 401, "webhook-refused"),
        (_twice, 401, "webhook-refused"),
        (lambda: signed(b"no json"), 400, "malformed-body"),
        (lambda: signed({"account_ids": "acct_a"}), 422, "validation-failed"),
        (lambda: signed({"event": "x" * BODY_BYTES_MAX}), 413, "payload-too-large"),
    ],
    ids=["unsigned", "forged", "old", "changed", "signed twice", "no JSON", "another form", "too long"],
)
async def test_what_is_refused_moves_nothing(
    make: Callable[[], dict[str, Any]], status: int, slug: str, door: Door, mirror: Mirror
) -> None:
    """Each with a problem document that says why, and nothing is remembered of it."""
    answer = await door.post(**make())

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["type"] == f"/problems/{slug}"
    assert door.hastened == []
    assert await mirror.ask("SELECT * FROM sync.webhooks") == []


async def test_without_a_secret_nothing_is_taken(pool: Pool) -> None:
    """Not even what is signed with an empty one."""
    async with open_door(pool, None) as door:
        answer = await door.post(**signed({}, secret=""))

    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/webhooks-off")
    assert door.hastened == []


async def test_old_signatures_are_forgotten(door: Door, mirror: Mirror, pool: Pool) -> None:
    """When a message is too old to be taken, its signature need not be known any more; not earlier."""
    for number in range(2):
        await door.post(**signed({"event": str(number)}))
    await mirror.owner.execute(
        "UPDATE sync.webhooks SET received_at = now() - make_interval(secs => %s) WHERE event = '0'",
        [2 * webhooks.WINDOW_SECONDS + 61],
    )

    await store.prune_webhooks(pool, webhooks.KEEP_SECONDS)

    assert await mirror.ask("SELECT event FROM sync.webhooks") == [("1",)]


# ── the process ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def http_bank(bank: ModelBank) -> AsyncIterator[HttpBank]:
    """A bank that is polled once an hour if nobody says anything."""
    async with serve_bank(bank) as serving:
        yield serving


@asynccontextmanager
async def quiet_ingest(
    http_bank: HttpBank, database_url: str, mirror: Mirror, **settings: object
) -> AsyncIterator[None]:
    """An ingest that has read everything once and rests now."""

    async def rests() -> bool:
        polled = "SELECT count(*) FROM sync.targets WHERE synced_at IS NOT NULL AND lease_holder IS NULL"
        return bool((await mirror.ask(polled))[0][0] == 3)

    async with ingest(http_bank, database_url, poll_seconds=3600, **settings):
        await until(rests)
        # Hints are heard from here on.
        listening = "SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"

        async def listens() -> bool:
            return bool(await mirror.ask(listening))

        await until(listens)
        yield


async def test_t56_a_signed_hint_brings_what_changed(
    bank: ModelBank, http_bank: HttpBank, mirror: Mirror, database_url: str
) -> None:
    """Long before the next poll is due the mirror has it: what the bank shows, and not what the message said."""
    port = free_port()

    async def equal() -> bool:
        return await mirror.rows() == bank.good_rows()

    async with (
        quiet_ingest(http_bank, database_url, mirror, webhook_port=port, webhook_secret=SECRET),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        for number in range(3):
            bank.post("acct_a", -number - 1)
            lie = {"event": "transactions.updated", "account_ids": ["acct_a"], "amount_cents": 99, "sent_at": "1970"}
            assert (await client.post("/webhooks/bank", **signed({**lie, "n": number}))).status_code == 202
            await until(equal)


async def test_a_reader_is_heard(bank: ModelBank, http_bank: HttpBank, mirror: Mirror, database_url: str) -> None:
    """What the read API answers is polled at the quick pace; who asks for it newer is polled for at once."""
    async with quiet_ingest(http_bank, database_url, mirror), asking(database_url) as client:
        assert (await client.get("/banking/accounts/acct_a")).status_code == 200

        async def noted() -> bool:
            demanded = "SELECT count(*) FROM sync.targets WHERE demanded_at IS NOT NULL"
            return bool((await mirror.ask(demanded))[0][0] == 3)

        await until(noted)
        bank.post("acct_a", -1)

        async def equal() -> bool:
            return await mirror.rows() == bank.good_rows()

        # Nobody's nonsense may take the demand of others with it.
        await mirror.owner.execute("SELECT pg_notify('bankmirror_demand', %s)", [json.dumps({"accounts": ["a\0b"]})])
        demand = json.dumps({"accounts": ["acct_a"], "max_age": 0})
        await mirror.owner.execute("SELECT pg_notify('bankmirror_demand', %s)", [demand])
        await until(equal)


async def test_a_lost_listener_comes_back(
    bank: ModelBank, http_bank: HttpBank, mirror: Mirror, database_url: str
) -> None:
    """The database hangs up on it, and a moment later demand is heard again."""
    async with quiet_ingest(http_bank, database_url, mirror):
        listening = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        (lost,) = (await mirror.ask(listening))[0]
        await mirror.ask("SELECT pg_terminate_backend(%s)", lost)

        async def another() -> bool:
            return bool([pid for (pid,) in await mirror.ask(listening) if pid != lost])

        await until(another)
        bank.post("acct_a", -1)
        await mirror.owner.execute("""SELECT pg_notify('bankmirror_demand', '{"accounts": null, "max_age": 0}')""")

        async def equal() -> bool:
            return await mirror.rows() == bank.good_rows()

        await until(equal)


async def test_the_bank_is_told_where_to_send_them(
    bank: ModelBank, http_bank: HttpBank, mirror: Mirror, database_url: str
) -> None:
    """With an address and a bank that has webhooks, ingest registers it, and again until the bank takes it."""
    registered: list[str] = []

    async def take(path: str, number: int) -> tuple[int, dict[str, str], bytes] | None:
        if path != "/webhooks":
            return None
        registered.append(path)
        return (500, {}, b"") if number == 1 else (201, {"content-type": "application/json"}, b"{}")

    http_bank.fault = take
    async with quiet_ingest(http_bank, database_url, mirror, webhook_url="https://us.example/webhooks/bank"):

        async def twice() -> bool:
            return len(registered) == 2

        await until(twice)
