"""The audit chain, recomputed here from its definition alone, under concurrent writers."""

import asyncio
import hashlib
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from kernel.database import TRANSFERS, make_pool
from tests.integration.transfers.conftest import BODY, Books, Start
from tests.integration.transfers.model_bank import ModelBank, Reaction
from tests.waiting import until

EVENTS = "SELECT *, payload::text AS payload_text, xmin::text::bigint AS written_by FROM audit.events ORDER BY seq"


def framed(*fields: str) -> bytes:
    """Each field behind its length in bytes, as eight big-endian bytes."""
    return b"".join(len(field.encode()).to_bytes(8, "big") + field.encode() for field in fields)


def first_bad(events: list[dict[str, Any]]) -> int | None:
    """The seq of the first event that does not follow from the one before it; None for a whole chain."""
    last = hashlib.sha256(b"bankmirror audit").digest()
    for place, event in enumerate(events, start=1):
        at = event["at"].strftime("%Y-%m-%dT%H:%M:%S.%f")
        fields = (
            str(event["seq"]),
            at,
            event["actor"],
            event["action"],
            event["subject"],
            event["payload_text"],
        )
        expected = hashlib.sha256(last + framed(*fields)).digest()
        if event["seq"] != place or event["prev_hash"] != last or event["hash"] != expected:
            return int(event["seq"])
        last = event["hash"]
    return None


async def test_the_chain_is_whole_after_busy_days(start: Start, bank: ModelBank, books: Books) -> None:
    """I-12: gap-free, every hash as computed here, and every move of a transfer has exactly one event."""
    bank.reactions = [
        Reaction.PAY, Reaction.DECLINE, Reaction.LOST_AFTER, Reaction.NOT_SENT, Reaction.KEY_REUSED,
    ] * 4  # fmt: skip
    clients = [await start(), await start()]
    await asyncio.gather(
        *(
            clients[number % 2].post("/banking/transfer", json={**BODY, "amount_cents": number + 1, "memo": "é" * 9})
            for number in range(20)
        )
    )

    async def are_through() -> bool:
        states = {row["state"] for row in await books.transfers()}
        return states == {"accepted", "rejected", "manual_review"}

    await until(are_through)
    events = await books.rows(EVENTS)
    assert first_bad(events) is None
    assert await books.rows("SELECT seq, hash FROM audit.head") == [{"seq": len(events), "hash": events[-1]["hash"]}]
    for transfer in await books.transfers():
        path = [event for event in events if event["subject"] == f"transfer:{transfer['transfer_id']}"]
        assert path[0]["action"] == "transfer.requested"
        assert path[-1]["action"] == f"transfer.{transfer['state']}"
        # Each move names where it came from, which is where the one before it ended.
        for before, after in pairwise(path):
            came_from = before["payload"].get("to") or before["action"].removeprefix("transfer.")
            assert after["payload"]["from"] == came_from


async def test_an_event_and_its_change_are_one_transaction(start: Start, bank: ModelBank, books: Books) -> None:
    """The event names its transaction, and the row of the transfer was last written by the same one."""
    await (await start()).post("/banking/transfer", json=BODY)

    (row,) = await books.rows("SELECT xmin::text::bigint AS written_by FROM transfer.transfers")
    (event,) = await books.rows(
        "SELECT txid::text::bigint AS txid, xmin::text::bigint AS written_by FROM audit.events"
        " WHERE action = 'transfer.accepted'"
    )
    assert event["txid"] == event["written_by"] == row["written_by"]


async def append_from_eight(seeded: str, statement: bytes) -> None:
    """Forty appends from each of eight connections at once."""
    async with make_pool(seeded, TRANSFERS, max_size=8, autocommit=True) as pool:

        async def write(writer: int) -> None:
            for number in range(40):
                async with pool.connection() as connection:
                    await connection.execute(statement, [f"w{writer}", str(number)])

        await asyncio.gather(*(write(writer) for writer in range(8)))


async def test_eight_writers_make_one_chain(seeded: str, books: Books) -> None:
    """No fork and no gap."""
    await append_from_eight(seeded, b"SELECT audit.append(%s, 'test', %s, '{}')")

    events = await books.rows(EVENTS)
    assert len(events) == 320
    assert first_bad(events) is None


async def test_control_without_the_lock_on_the_head_the_chain_breaks(seeded: str, books: Books) -> None:
    """Negative control: read the head without locking it."""
    (definition,) = await books.rows("SELECT pg_get_functiondef('audit.append'::regproc) AS sql")
    assert "FOR UPDATE" in definition["sql"]
    await books._connection.execute(definition["sql"].replace("FOR UPDATE", "").encode())

    with pytest.raises(psycopg.errors.UniqueViolation):
        await append_from_eight(seeded, b"SELECT audit.append(%s, 'test', %s, '{}')")


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit.events SET payload = '{\"amount_minor\": 1}' WHERE seq = 2",
        "UPDATE audit.events SET actor = 'nobody' WHERE seq = 2",
        "DELETE FROM audit.events WHERE seq = 2",
        "UPDATE audit.events SET seq = -seq WHERE seq IN (2, 3)",
        "UPDATE audit.events SET at = at + interval '1 microsecond' WHERE seq = 2",
    ],
)
async def test_tampering_shows(start: Start, bank: ModelBank, books: Books, tampering: str) -> None:
    """The check above can fail: changed, removed, moved."""
    await (await start()).post("/banking/transfer", json=BODY)
    assert first_bad(await books.rows(EVENTS)) is None

    await books.rows(tampering + " RETURNING 1")

    assert first_bad(await books.rows(EVENTS)) is not None
