"""Many at once, and workers that slept (C1, C3, P6, P7), with the controls that show that the guards hold it
up.
"""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from kernel.batch import Batch
from kernel.database import Pool
from tests.integration.transfers.conftest import BANK, BODY, LEASE_SECONDS, RESEND_SECONDS, Books, Start, running
from tests.integration.transfers.model_bank import ModelBank
from tests.waiting import PATIENCE, until
from transfers import resolver, store, submitter, work
from transfers.metrics import Metrics
from transfers.settings import TransfersSettings
from transfers.states import Rules

KEY = {"Idempotency-Key": "a-key-of-this-test"}
LEASE = timedelta(seconds=12)


async def test_c1_fifty_identical_requests_are_one_transfer(start: Start, bank: ModelBank, books: Books) -> None:
    """C1: over two processes at once; every one of them is told the same transfer, and it is sent once."""
    clients = [await start(transfers_wait_seconds=PATIENCE), await start(transfers_wait_seconds=PATIENCE)]

    answers = await asyncio.gather(
        *(clients[number % 2].post("/banking/transfer", json=BODY, headers=KEY) for number in range(50))
    )

    assert [answer.status_code for answer in answers] == [200] * 50
    assert len({answer.json()["transfer_id"] for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    assert len(await books.transfers()) == 1
    assert len(bank.posts) == 1


async def test_c1_different_bodies_under_one_key_are_one_transfer(start: Start, bank: ModelBank, books: Books) -> None:
    """C1, I3: of twenty amounts under one key, one wins; the others are refused and not paid."""
    clients = [await start(transfers_wait_seconds=PATIENCE), await start(transfers_wait_seconds=PATIENCE)]

    answers = await asyncio.gather(
        *(
            clients[number % 2].post("/banking/transfer", json={**BODY, "amount_cents": number + 1}, headers=KEY)
            for number in range(20)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 19
    assert len(bank.executed) == 1


async def test_c3_two_processes_never_take_the_same_transfer(start: Start, bank: ModelBank, books: Books) -> None:
    """C3: forty transfers, two processes, forty POSTs."""
    clients = [await start(transfers_wait_seconds=PATIENCE), await start(transfers_wait_seconds=PATIENCE)]

    answers = await asyncio.gather(
        *(
            clients[number % 2].post("/banking/transfer", json={**BODY, "amount_cents": number + 1})
            for number in range(40)
        )
    )

    assert [answer.status_code for answer in answers] == [200] * 40
    assert len(bank.posts) == len({post.bank_key for post in bank.posts}) == 40
    bank.check_posts()
    workers = await books.rows("SELECT DISTINCT worker FROM transfer.attempts")
    assert len(workers) == 2


async def test_c3_claims_of_many_workers_are_disjoint(pool: Pool, ready: UUID) -> None:
    """C3: one row, eight claims at once: one gets it."""
    claims = await asyncio.gather(*(store.claim_ready(pool, f"w{n}", BANK, 5, LEASE) for n in range(8)))

    assert sum(len(claimed) for claimed in claims) == 1


async def test_another_banks_transfers_are_left_alone(pool: Pool, ready: UUID) -> None:
    """A process sends through its own bank only, whatever else is in the table."""
    others = (BANK._replace(connection_id="other"), BANK._replace(bank_id="http://127.0.0.1:2"))
    for other in others:
        assert await store.claim_ready(pool, "w", other, 5, LEASE) == []
    (claim,) = await store.claim_ready(pool, "w", BANK, 5, timedelta(0))
    for other in others:
        assert await store.claim_unresolved(pool, "w", other, 5, LEASE) == []
    (taken,) = await store.claim_unresolved(pool, "w", BANK, 5, LEASE)
    assert taken.epoch == claim.epoch + 1


async def test_p6_a_worker_that_slept_through_its_lease_changes_nothing(
    start: Start, bank: ModelBank, books: Books
) -> None:
    """P6: its POST was executed, but somebody else has looked already. The result is discarded and logged."""
    bank.door.clear()
    client = await start(transfers_wait_seconds=0, bank_deadline_seconds=10)
    await client.post("/banking/transfer", json=BODY)
    await bank.arrived.wait()

    await books.pass_time(LEASE_SECONDS + 1)
    await books.contacts("absent", 1)
    bank.door.set()

    async def fenced() -> bool:
        return "bankmirror_transfer_fenced_total 1.0" in (await client.get("/metrics")).text

    await until(fenced)
    await books.until("accepted")
    assert len(bank.posts) == 1
    first, *_ = await books.attempts()
    assert first == ("post", "accepted"), "what it saw is kept"
    (decided,) = await books.rows(
        "SELECT kind FROM transfer.attempts, audit.events WHERE action = 'transfer.accepted'"
        " AND attempt = (payload ->> 'attempt')::int"
    )
    assert decided["kind"] == "lookup", "but the one who took over has decided"


async def test_p6_a_worker_that_wakes_before_its_post_does_not_send(
    settings: TransfersSettings, bank: ModelBank, books: Books, pool: Pool, ready: UUID
) -> None:
    """P6: stopped between its commit and the first byte, and woken after its lease: nothing is sent any more."""
    worker = _worker(settings, bank, pool)
    (claim,) = await store.claim_ready(pool, worker.name, BANK, 1, settings.lease)

    await submitter.send(worker, claim, work.boot_seconds() - settings.lease.total_seconds())

    assert bank.posts == []
    assert (await books.transfer())["state"] == "submitting"


async def test_p6_a_worker_that_wakes_before_it_sends_again_does_not_send(
    settings: TransfersSettings,
    bank: ModelBank,
    books: Books,
    pool: Pool,
    ready: UUID,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P6: the same after the commit that it is about to send again, when somebody else may have sent it meanwhile."""
    worker = _worker(settings, bank, pool)
    await store.claim_ready(pool, worker.name, BANK, 1, settings.lease)
    await books.pass_time(60)
    (claim,) = await store.claim_unresolved(pool, worker.name, BANK, 1, settings.lease)
    begin_resend, committed = store.begin_resend, []

    async def begin_and_sleep(*arguments: Any) -> int | None:
        committed.append(await begin_resend(*arguments))
        woken = work.boot_seconds() + settings.lease.total_seconds()
        monkeypatch.setattr(work, "boot_seconds", lambda: woken)
        return committed[0]

    monkeypatch.setattr(store, "begin_resend", begin_and_sleep)
    await resolver.resolve(worker, claim, work.boot_seconds())

    assert committed == [3]
    assert bank.posts == []
    assert (await books.transfer())["state"] == "unknown"


async def test_p7_stopping_waits_for_what_is_on_the_wire(
    settings: TransfersSettings, bank: ModelBank, books: Books
) -> None:
    """P7: an answer that comes within the grace is recorded before the process ends."""
    bank.door.clear()
    patient = settings.model_copy(update={"transfers_wait_seconds": 0, "transfers_drain_seconds": PATIENCE})
    async with running(patient, bank) as client:
        await client.post("/banking/transfer", json=BODY)
        await bank.arrived.wait()
        asyncio.get_running_loop().call_later(0.3, bank.door.set)

    assert (await books.transfer())["state"] == "accepted"


async def test_p7_what_does_not_finish_is_never_called_failed(
    settings: TransfersSettings, bank: ModelBank, books: Books
) -> None:
    """P7: beyond the grace it stays `submitting`; after its lease the next process asks the bank."""
    bank.door.clear()
    async with running(settings.model_copy(update={"transfers_wait_seconds": 0}), bank) as client:
        await client.post("/banking/transfer", json=BODY)
        await bank.arrived.wait()
    assert (await books.transfer())["state"] == "submitting"

    bank.door.set()
    await books.pass_time(RESEND_SECONDS)
    async with running(settings, bank):
        await books.until("accepted")
    assert await books.states() == ["requested", "submitting", "unknown", "sent_again", "accepted"]
    assert await books.attempts() == [("post", None), ("lookup", "absent"), ("post", "accepted")]
    assert bank.paid_more_than_once() == []


def _worker(settings: TransfersSettings, bank: ModelBank, pool: Pool) -> work.Worker:
    metrics = Metrics()
    return work.Worker(
        name="test",
        bank=BANK,
        pool=pool,
        payer=bank,
        settings=settings,
        rules=Rules(bank.retention, timedelta(seconds=30), can_look_up=True),
        findings=Batch(partial(store.record_outcomes, pool)),
        gate=work.Gate(60, metrics),
        metrics=metrics,
    )
