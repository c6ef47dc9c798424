"""One database and two banks: a transfer is sent to the bank that it was made for, and no other one is believed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import MappingProxyType

import httpx
import pytest
from structlog.testing import capture_logs

from banks.registry import open_payer
from tests.integration.transfers.conftest import BODY, RESEND_SECONDS, Books, running
from tests.integration.transfers.http_bank import HttpBank, open_http_bank
from tests.waiting import until
from transfers import store
from transfers.settings import TransfersSettings

# From another account, since both banks number their transactions from one.
OTHER_BODY = {**BODY, "account_id": BODY["destination_account_id"], "destination_account_id": BODY["account_id"]}
KEY = {"Idempotency-Key": "a-key-of-this-test"}
CLAIMS = ("transfers_claim", "unresolved_claim")
ONLY_OURS = "       AND bank_id = %(bank_id)s::text\n"


@pytest.fixture
async def one() -> AsyncIterator[HttpBank]:
    async with open_http_bank() as bank:
        yield bank


@pytest.fixture
async def two() -> AsyncIterator[HttpBank]:
    async with open_http_bank() as bank:
        yield bank


@asynccontextmanager
async def paying(settings: TransfersSettings, url: str, bank_id: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A transfers process that talks to the bank at this address, through the real adapter."""
    there = settings.model_copy(update={"bank_api_base_url": url, "bank_id": bank_id, "transfers_wait_seconds": 0})
    async with open_payer(there) as payer, running(there, payer) as client:
        yield client


async def lose_the_answer(settings: TransfersSettings, bank: HttpBank, books: Books) -> None:
    """A transfer that this bank has executed, and whose answer never came; then the process ends."""
    bank.hang_after = bank.is_blind = True
    async with paying(settings.model_copy(update={"bank_deadline_seconds": 0.5}), bank.url) as client:
        await client.post("/banking/transfer", json=BODY, headers=KEY)
        await books.contacts("unknown", 1)
    assert (len(bank.posts), len(bank.booked)) == (1, 1)
    bank.hang_after = bank.is_blind = False
    await books.pass_time(RESEND_SECONDS)


async def accepted(books: Books, count: int) -> None:
    """Wait until so many transfers are."""

    async def are() -> bool:
        return [row["state"] for row in await books.transfers()].count("accepted") >= count

    await until(are)


async def foreign_counted(client: httpx.AsyncClient) -> None:
    """Wait until it has looked for transfers of other banks, which it does at its start."""

    async def has() -> bool:
        return "bankmirror_transfers_of_another_bank 1.0" in (await client.get("/metrics")).text

    await until(has)


async def test_a_lost_answer_is_not_paid_at_another_bank(
    settings: TransfersSettings, one: HttpBank, two: HttpBank, books: Books
) -> None:
    """The other bank has never heard of the transfer. It is not asked, not paid, and the client keeps its transfer."""
    await lose_the_answer(settings, one, books)

    with capture_logs() as logs:
        async with paying(settings, two.url) as client:
            # A transfer of its own shows that it works, and by when it had looked for the other one.
            await client.post("/banking/transfer", json=OTHER_BODY)
            await accepted(books, 1)
            await foreign_counted(client)
            again = await client.post("/banking/transfer", json=BODY, headers=KEY)

    assert (again.status_code, again.json()["outcome_certain"]) == (202, False)
    assert (await books.transfers())[0]["state"] == "unknown"
    assert (len(one.posts), len(two.posts), two.look_ups) == (1, 1, 0)
    assert [line["count"] for line in logs if "transfers of another bank" in line["event"]] == [1], "once a minute"

    await books.pass_time(RESEND_SECONDS)
    async with paying(settings, one.url):
        await accepted(books, 2)
    assert len(one.posts) == 1, "its own bank knew it"


async def test_without_the_guard_it_is_paid_twice(
    settings: TransfersSettings, one: HttpBank, two: HttpBank, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the test above can fail: the same, but claims do not ask whose transfer it is."""
    unguarded = {name: query.replace(ONLY_OURS, "") for name, query in store.QUERIES.items()}
    assert all(unguarded[name] != store.QUERIES[name] for name in CLAIMS)
    monkeypatch.setattr(store, "QUERIES", MappingProxyType(unguarded))
    await lose_the_answer(settings, one, books)

    async with paying(settings, two.url):
        await books.until("accepted")

    assert (len(one.booked), len(two.booked)) == (1, 1)


async def test_what_was_never_sent_waits_for_its_bank(
    settings: TransfersSettings, one: HttpBank, two: HttpBank, books: Books
) -> None:
    """Accepted for a bank that is away: another bank does not get it, and the bank itself may move under its id."""
    async with paying(settings, "http://127.0.0.1:1", "ours") as client:
        await client.post("/banking/transfer", json=BODY, headers=KEY)
        await books.contacts("not_sent", 1)
    await books.pass_time(RESEND_SECONDS)

    async with paying(settings, two.url) as client:
        await client.post("/banking/transfer", json=OTHER_BODY)
        await accepted(books, 1)
        await foreign_counted(client)
    assert [row["state"] for row in await books.transfers()] == ["ready", "accepted"]

    await books.pass_time(RESEND_SECONDS)
    async with paying(settings, one.url, "ours"):
        await accepted(books, 2)
    assert (len(one.posts), len(two.posts)) == (1, 1)
