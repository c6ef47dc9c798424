"""What banks do wrong on the write side (W1-W11, W14), and where the transfer ends; against a scripted bank."""

import time
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from tests.integration.transfers.conftest import BODY, RESEND_SECONDS, Books, Start, running
from tests.integration.transfers.model_bank import ModelBank, Reaction, Sight
from tests.waiting import until
from transfers import work
from transfers.settings import TransfersSettings

KEY = {"Idempotency-Key": "a-key-of-this-test"}
DAY_SECONDS = 86_400.0


@pytest.fixture(autouse=True)
async def always(bank: ModelBank) -> AsyncIterator[None]:
    """After every test: no POST before its commit, the same bytes each time, and no money moved twice."""
    yield
    bank.check_posts()
    assert bank.paid_more_than_once() == []


async def post(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/banking/transfer", json=BODY, headers=KEY)


async def test_w1_refused_on_the_first_attempt(start: Start, bank: ModelBank, books: Books) -> None:
    """W1: nothing left this machine, so it is ready again, and sent when the bank can be reached."""
    bank.reactions = [Reaction.NOT_SENT]
    client = await start()

    answer = await post(client)

    assert answer.json()["status"] == "completed"
    assert await books.attempts() == [("post", "not_sent"), ("post", "accepted")]
    assert await books.states() == ["requested", "submitting", "ready", "submitting", "accepted"]
    assert bank.look_ups == []


async def test_w1_refused_for_hours_is_no_reason_for_people_to_look(
    start: Start, bank: ModelBank, books: Books
) -> None:
    """W1: as long as nothing was ever sent, nothing is uncertain; the first POST that leaves may come late."""
    bank.reactions = [Reaction.NOT_SENT] * 3
    await post(await start(transfers_wait_seconds=0))

    for times in range(1, 4):
        await books.contacts("not_sent", times)
        await books.pass_time(40_000)
    await books.until("accepted")

    assert len(bank.posts) == 1


@pytest.mark.parametrize("reaction", [Reaction.LOST_AFTER, Reaction.TRUNCATED, Reaction.ERROR_AFTER])
async def test_w2_w3_w4_executed_and_lost_is_found(
    start: Start, bank: ModelBank, books: Books, reaction: Reaction
) -> None:
    """W2, W3, W4: executed, but we never heard. The look-up finds it, and nothing is sent again."""
    bank.reactions = [reaction]
    client = await start()

    answer = await post(client)

    assert answer.json()["status"] == "completed"
    assert answer.json()["transaction_id"] == "txn_1"
    assert await books.attempts() == [("post", "unknown"), ("lookup", "accepted")]
    assert len(bank.posts) == 1


@pytest.mark.parametrize("reaction", [Reaction.LOST_BEFORE, Reaction.ERROR_BEFORE, Reaction.LATE])
async def test_w2_w4_not_found_is_sent_again_under_the_same_key(
    start: Start, bank: ModelBank, books: Books, reaction: Reaction
) -> None:
    """W2, W4: the bank does not show it. Not before it can have finished, and then with the same bytes."""
    bank.reactions = [reaction]
    client = await start(transfers_wait_seconds=0)

    await post(client)
    await books.contacts("absent", 1)
    answer = await post(client)
    assert answer.status_code == 202
    assert answer.json()["status"] == "processing"
    assert answer.json()["outcome_certain"] is False
    assert answer.json()["logged"] is True
    assert len(bank.posts) == 1

    await books.pass_time(RESEND_SECONDS)
    await books.until("accepted")
    bank.execute_late()

    assert [post.body for post in bank.posts] == [bank.posts[0].body] * 2
    assert (await post(client)).json()["status"] == "completed"


async def test_w2_late_execution_is_found(start: Start, bank: ModelBank, books: Books) -> None:
    """W2: the bank executes after we gave up; the next look-up finds it, and nothing is sent again."""
    bank.reactions = [Reaction.LATE]
    await post(await start(transfers_wait_seconds=0))
    await books.contacts("unknown", 1)

    bank.execute_late()
    await books.pass_time(5)
    await books.until("accepted")

    assert len(bank.posts) == 1


async def test_w4_a_stored_500_is_not_asked_for_for_ever(start: Start, bank: ModelBank, books: Books) -> None:
    """W4: the bank repeats its 500 under our key. Five POSTs, then only look-ups, then people."""
    bank.reactions = [Reaction.ERROR_FOR_EVER]
    await post(await start(transfers_wait_seconds=0))

    await books.contacts("unknown", 1)
    for look_ups in range(1, 10):
        await books.pass_time(400)
        await books.contacts("absent", look_ups)
    assert len(bank.posts) == 5

    await books.pass_time(DAY_SECONDS)
    row = await books.until("manual_review")

    assert row["outcome_code"] == "not-found-at-bank"
    assert len(bank.posts) == 5


async def test_w5_in_flight_at_the_bank_waits_and_asks(start: Start, bank: ModelBank, books: Books) -> None:
    """W5: 409 says that the bank is at it. Unknown, looked up, and not sent again at once."""
    bank.reactions = [Reaction.IN_FLIGHT]
    answer = await post(await start(transfers_wait_seconds=0))
    await books.contacts("absent", 1)

    assert answer.status_code == 202
    assert (await books.transfer())["state"] == "unknown"
    assert len(bank.posts) == 1


async def test_w6_throttled_waits_as_long_as_the_bank_asks(start: Start, bank: ModelBank, books: Books) -> None:
    """W6: 429 with Retry-After: 7 is seven seconds of silence, and unknown all the same."""
    bank.reactions = [Reaction.THROTTLED]
    answer = await post(await start(transfers_wait_seconds=0))
    await books.contacts("unknown", 1)

    assert answer.status_code == 202
    row = await books.transfer()
    assert row["state"] == "unknown"
    assert timedelta(seconds=7) <= row["next_attempt_at"] - row["updated_at"] <= timedelta(seconds=9)
    assert bank.look_ups == []


async def test_w7_a_decline_is_final(start: Start, bank: ModelBank, books: Books) -> None:
    """W7: the client is told why, the same key is told the same, and nothing is ever sent again."""
    bank.reactions = [Reaction.DECLINE]
    client = await start()

    for replayed in (None, "true"):
        answer = await post(client)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "/problems/transfer-rejected"
        assert answer.json()["code"] == "insufficient-funds"
        assert answer.json()["logged"] is True
        assert answer.headers.get("Idempotent-Replayed") == replayed

    assert (await books.transfer())["state"] == "rejected"
    assert len(bank.posts) == 1


@pytest.mark.parametrize(
    ("reaction", "code"),
    [(Reaction.KEY_REUSED, "idempotency-key-reused"), (Reaction.OTHER_AMOUNT, "echo-differs")],
)
async def test_w8_w9_contradictions_go_to_people(
    start: Start, bank: ModelBank, books: Books, reaction: Reaction, code: str
) -> None:
    """W8, W9: the bank contradicts what we sent. Not accepted, not rejected, never sent again."""
    bank.reactions = [reaction]
    client = await start()
    answer = await post(client)

    assert answer.status_code == 202
    assert answer.json()["state"] == "manual_review"
    assert answer.json()["outcome_certain"] is False
    assert (await books.transfer())["outcome_code"] == code
    await books.pass_time(DAY_SECONDS)
    # By when this one is through, the workers have looked for others.
    assert (await client.post("/banking/transfer", json={**BODY, "amount_cents": 1})).status_code == 200
    assert [post.body for post in bank.posts].count(bank.posts[0].body) == 1
    assert len(bank.posts) == 2


@pytest.mark.parametrize("sight", [Sight.BLIND, Sight.FAIL])
async def test_w10_past_the_banks_memory_nothing_is_sent(
    start: Start, bank: ModelBank, books: Books, sight: Sight
) -> None:
    """W10: the key is forgotten, so a POST would be a new payment, whatever the look-ups do not show."""
    bank.reactions = [Reaction.LOST_AFTER]
    bank.sights = [sight] * 50
    await post(await start(transfers_wait_seconds=0))
    await books.contacts("unknown", 1)

    bank.forget_keys()
    await books.pass_time(2 * DAY_SECONDS)
    row = await books.until("manual_review")

    assert len(bank.posts) == 1
    assert row["bank_transaction_id"] is None


async def test_w10_a_minute_before_the_end_of_memory_is_too_late(start: Start, bank: ModelBank, books: Books) -> None:
    """W10: clocks differ and requests take time: the last five minutes are not used."""
    bank.reactions = [Reaction.LOST_AFTER]
    bank.sights = [Sight.BLIND] * 50
    await post(await start(transfers_wait_seconds=0))
    await books.contacts("unknown", 1)
    bank.forget_keys()
    await books.pass_time(DAY_SECONDS - 60)
    await books.contacts("absent", 1)

    assert len(bank.posts) == 1
    assert (await books.transfer())["state"] == "unknown"


async def test_w11_found_twice_goes_to_people(start: Start, bank: ModelBank, books: Books) -> None:
    """W11: two payments under one key: nobody may call this accepted."""
    bank.reactions = [Reaction.LOST_AFTER]
    bank.sights = [Sight.TWICE]
    await post(await start())
    row = await books.until("manual_review")

    assert row["outcome_code"] == "found-twice"
    assert len(bank.posts) == 1


class Clock:
    """The module `time` as workers use it, with a hand on the clock that probes go by."""

    clock_gettime, CLOCK_MONOTONIC = time.clock_gettime, time.CLOCK_MONOTONIC

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_seconds


async def test_w14_refused_credentials_suspend_sending(
    start: Start, bank: ModelBank, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W14: nothing more is sent but a slow probe; requests are kept; with good credentials all of it goes on."""
    bank.reactions = [Reaction.CREDENTIALS] * 2
    clock = Clock()
    monkeypatch.setattr(work, "time", clock)
    client = await start(transfers_wait_seconds=0, transfers_probe_seconds=300)

    await post(client)
    await books.contacts("refused_credentials", 1)
    for number in range(4):
        answer = await client.post("/banking/transfer", json={**BODY, "amount_cents": number + 1})
        assert answer.status_code == 202
        assert answer.json()["state"] == "ready"
    assert [row["state"] for row in await books.transfers()] == ["ready"] * 5
    assert len(bank.posts) == 1
    assert "bankmirror_transfer_submitter_suspended 1.0" in (await client.get("/metrics")).text

    async def refused_twice() -> bool:
        return (await books.attempts()).count(("post", "refused_credentials")) == 2

    async def all_accepted() -> bool:
        return {row["state"] for row in await books.transfers()} == {"accepted"}

    await books.pass_time(10)
    clock.ahead_seconds += 301
    await until(refused_twice)
    assert len(bank.posts) == 2
    await books.pass_time(10)
    clock.ahead_seconds += 301
    await until(all_accepted)
    assert len(bank.posts) == 7
    assert "bankmirror_transfer_submitter_suspended 0.0" in (await client.get("/metrics")).text


@pytest.mark.parametrize("reaction", [Reaction.RAISE, Reaction.NO_ID])
async def test_an_adapter_that_breaks_its_promise_leaves_the_outcome_unknown(
    start: Start, bank: ModelBank, books: Books, reaction: Reaction
) -> None:
    """Raising, or a success without an id, proves nothing; the look-up decides."""
    bank.reactions = [reaction]
    bank.sights = [Sight.RAISE, *[Sight.CREDENTIALS] * 50]
    answer = await post(await start(transfers_wait_seconds=0))
    await books.contacts("refused_credentials", 1)

    assert answer.status_code == 202
    assert (await books.transfer())["state"] == "unknown"
    bank.sights.clear()
    await books.pass_time(RESEND_SECONDS)
    await books.until("accepted")


async def test_a_payment_that_hangs_is_unknown_at_our_own_deadline(start: Start, bank: ModelBank, books: Books) -> None:
    """An adapter that does not keep its deadline is cut off before the lease ends."""
    bank.door.clear()
    await post(await start(transfers_wait_seconds=0, bank_deadline_seconds=0.1))
    await books.recorded("unknown")

    (event,) = await books.rows("SELECT payload FROM audit.events WHERE action = 'transfer.unknown'")
    assert (event["payload"]["verdict"], event["payload"]["code"]) == ("unknown", "adapter-failed")
    assert event["payload"]["epoch"] == 1, "by the worker itself, and not by one that found its lease over"


async def test_one_bank_transaction_never_answers_for_two_transfers(
    start: Start, bank: ModelBank, books: Books
) -> None:
    """I-1: the bank names the same transaction for another transfer: people must look, the first one stands."""
    client = await start()
    first = await client.post("/banking/transfer", json=BODY)
    bank.executed.clear()
    second = await client.post("/banking/transfer", json=BODY)

    assert first.json()["state"] == "accepted"
    assert second.json()["state"] == "manual_review"
    assert second.json()["code"] == "bank-transaction-of-another-transfer"


async def test_a_bank_that_cannot_be_asked(seeded: str, settings: TransfersSettings, books: Books) -> None:
    """Without look-ups, the same key is the question, once the bank can have finished."""
    bank = ModelBank(seeded, can_look_up=False, reactions=[Reaction.LOST_AFTER])
    async with running(settings.model_copy(update={"transfers_wait_seconds": 0}), bank) as client:
        assert (await post(client)).status_code == 202
        await books.contacts("unknown", 1)
        await books.pass_time(RESEND_SECONDS)
        await books.until("accepted")

    assert len(bank.posts) == 2
    assert bank.paid_more_than_once() == []
