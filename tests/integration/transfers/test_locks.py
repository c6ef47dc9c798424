"""The order of locks: all the transfers first, then the head of the audit chain, which nobody holds while waiting."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from banks.ports import Outcome, Verdict
from kernel.database import Pool
from tests.integration.transfers.conftest import BANK, BODY, Books
from tests.integration.transfers.model_bank import ModelBank
from tests.waiting import until
from transfers import store
from transfers.accept import Asked, accept
from transfers.requests import TransferRequest
from transfers.states import Move, State
from transfers.store import Claim, Finding

Writer = psycopg.AsyncConnection[Any]
# Less than a deadlock takes to be detected: whoever would wait for the head here waits in vain.
HASTY = "SET lock_timeout = '300ms'"


@pytest.fixture
async def writer(seeded: str) -> AsyncIterator[Writer]:
    """Another process, in a transaction that it has not committed yet."""
    connection = await psycopg.AsyncConnection.connect(seeded, options="-c role=bankmirror_transfers")
    async with connection:
        await connection.execute(HASTY)
        yield connection


async def waits_for_a_lock(books: Books) -> None:
    """Until a statement of the pool waits for somebody."""

    async def one_waits() -> bool:
        waiting = "application_name = 'bankmirror transfers' AND wait_event_type = 'Lock'"
        return bool(await books.rows(f"SELECT FROM pg_stat_activity WHERE {waiting} AND datname = current_database()"))

    await until(one_waits)


async def appends(writer: Writer) -> None:
    """What every write ends with. Raises when somebody who waits holds the head."""
    await writer.execute("SELECT audit.append('test', 'test', 'test', '{}')")
    await writer.commit()


def ask(key: str) -> Asked:
    return Asked("sandbox", key, TransferRequest.model_validate(BODY))


async def test_an_insert_that_waits_for_a_key_does_not_hold_the_head(
    pool: Pool, bank: ModelBank, books: Books, writer: Writer
) -> None:
    """Two processes with overlapping keys: one waits for the other, and the other can finish."""
    await writer.execute(
        "INSERT INTO transfer.transfers (transfer_id, principal, client_key, fingerprint, source_account_id,"
        " destination_account_id, amount_minor, currency, bank_id, bank_key, request_bytes, request_sha256, state)"
        " VALUES (gen_random_uuid(), 'sandbox', 'key-2', '', 'acct_123', 'acct_456', 1, 'USD', '-', 'bank-key-2',"
        " '', '', 'ready')"
    )
    waiting = asyncio.create_task(accept(pool, bank, BANK, [ask("key-1"), ask("key-2")]))
    await waits_for_a_lock(books)

    await appends(writer)
    await waiting

    assert [row["client_key"] for row in await books.rows("SELECT client_key FROM transfer.transfers ORDER BY 1")] == [
        "key-1",
        "key-2",
    ]


@pytest.fixture
async def unknown(pool: Pool, bank: ModelBank) -> list[Claim]:
    """Three claimed transfers, by id."""
    await accept(pool, bank, BANK, [ask(f"key-{number}") for number in range(3)])
    return sorted(
        await store.claim_ready(pool, "w", BANK, 3, timedelta(seconds=12)), key=lambda claim: claim.transfer_id
    )


async def hold(writer: Writer, transfer_id: UUID) -> None:
    await writer.execute("SELECT FROM transfer.transfers WHERE transfer_id = %s FOR UPDATE", [transfer_id])


def record(pool: Pool, claims: list[Claim]) -> asyncio.Task[list[bool]]:
    findings = [Finding(claim, Outcome(Verdict.UNKNOWN), Move(State.UNKNOWN)) for claim in claims]
    return asyncio.create_task(store.record_outcomes(pool, findings))


@pytest.mark.parametrize("held", [0, 1, 2])
async def test_outcomes_that_wait_for_a_transfer_do_not_hold_the_head(
    pool: Pool, books: Books, writer: Writer, unknown: list[Claim], held: int
) -> None:
    """Outcomes of several transfers are one statement: none of their audit events before all are locked."""
    await hold(writer, unknown[held].transfer_id)
    waiting = record(pool, unknown)
    await waits_for_a_lock(books)

    await appends(writer)

    assert await waiting == [True, True, True]


async def test_outcomes_lock_their_transfers_by_id(
    pool: Pool, books: Books, writer: Writer, unknown: list[Claim]
) -> None:
    """Whatever order they come in, so that two batches wait for each other in one order only."""
    await hold(writer, unknown[0].transfer_id)
    waiting = record(pool, unknown[::-1])
    await waits_for_a_lock(books)

    await hold(writer, unknown[1].transfer_id)
    await hold(writer, unknown[2].transfer_id)
    await writer.commit()

    assert await waiting == [True, True, True]
