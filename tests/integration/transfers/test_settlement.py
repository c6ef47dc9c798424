"""What the mirrored feed settles: exactly our payment, posted, under whichever id the bank posts it."""

from typing import Any

import psycopg
import pytest

from tests.integration.transfers.conftest import BODY, Books, Start
from tests.integration.transfers.model_bank import ModelBank


async def mirror(books: Books, transaction_id: str, **changed: Any) -> None:
    """Show an entry in the mirror: our payment, posted, unless it says otherwise."""
    entry = {
        "account_id": "acct_123", "transaction_id": transaction_id, "amount_minor": -2500, "currency": "USD",
        "status": "posted", "type": "transfer", "description": "", "created_at": "now", "booked_on": "today",
        "content_hash": b"", "run_id": 1, **changed,
    }  # fmt: skip
    places = ", ".join(["%s"] * len(entry))
    await books.rows(
        f"INSERT INTO snapshot.transactions ({', '.join(entry)}) VALUES ({places}) RETURNING 1",
        *entry.values(),
    )


async def settle(books: Books) -> int:
    (row,) = await books.rows("SELECT transfer.settle(10) AS settled")
    return int(row["settled"])


async def under_way(books: Books) -> int:
    return len(await books.rows("SELECT FROM read.transfers_under_way"))


@pytest.fixture
async def accepted(start: Start, bank: ModelBank, books: Books) -> dict[str, Any]:
    """A transfer that the bank has answered with an id, and nothing in the mirror yet."""
    client = await start(transfers_settle_seconds=3600)
    await client.post("/banking/transfer", json=BODY)
    row = await books.until("accepted")
    assert await under_way(books) == 1
    return row


@pytest.mark.parametrize(
    "links", [["pending_transaction_id"], ["client_reference"], ["pending_transaction_id", "client_reference"]]
)
async def test_a_payment_that_is_posted_under_another_id_settles(
    accepted: dict[str, Any], books: Books, links: list[str]
) -> None:
    """The bank answered `pending` with one id and posts it under another that names the first, or our key."""
    first = accepted["bank_transaction_id"]
    named = {"pending_transaction_id": first, "client_reference": accepted["bank_key"]}
    await mirror(books, "txn_posted", **{link: named[link] for link in links})

    assert await under_way(books) == 0
    assert await settle(books) == 1
    transfer = await books.transfer()
    assert (transfer["state"], transfer["bank_transaction_id"]) == ("settled", first)
    (event,) = await books.rows("SELECT payload FROM audit.events WHERE action = 'transfer.settled'")
    assert event["payload"]["bank_transaction_id"] == first
    assert event["payload"]["posted_transaction_id"] == "txn_posted"
    assert await settle(books) == 0


async def test_a_pending_entry_settles_nothing(accepted: dict[str, Any], books: Books) -> None:
    """The bank shows it and has not booked it: it is counted once, and it is not settled."""
    await mirror(books, accepted["bank_transaction_id"], status="pending", booked_on=None)

    assert await settle(books) == 0
    assert await under_way(books) == 0


@pytest.mark.parametrize(
    "changed",
    [
        {"amount_minor": -2501},
        {"amount_minor": 2500},
        {"currency": "EUR"},
        {"status": "pending", "booked_on": None},
        {"account_id": "acct_456"},
    ],
)
async def test_another_payment_with_our_reference_settles_nothing(
    accepted: dict[str, Any], books: Books, changed: dict[str, Any]
) -> None:
    """A reference alone proves nothing: account, amount, currency and status are those of our payment."""
    await mirror(books, "txn_posted", client_reference=accepted["bank_key"], **changed)

    assert await settle(books) == 0
    assert (await books.transfer())["state"] == "accepted"


async def test_one_bank_transaction_settles_one_transfer(start: Start, bank: ModelBank, books: Books) -> None:
    """An entry that names one transfer by its pending id and another by its key answers for neither."""
    client = await start(transfers_settle_seconds=3600)
    for _ in range(2):
        assert (await client.post("/banking/transfer", json=BODY)).json()["state"] == "accepted"
    one, other = await books.transfers()
    await mirror(
        books, "txn_posted", pending_transaction_id=one["bank_transaction_id"], client_reference=other["bank_key"]
    )

    assert await settle(books) == 0
    assert [row["state"] for row in await books.transfers()] == ["accepted", "accepted"]


async def test_settling_reads_the_mirror_by_its_indexes(accepted: dict[str, Any], books: Books, seeded: str) -> None:
    """However long the history: three look-ups for each accepted transfer."""
    with psycopg.connect(seeded, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO snapshot.transactions (account_id, transaction_id, amount_minor, currency, status, type,"
            " description, created_at, booked_on, content_hash, run_id)"
            " SELECT 'acct_123', 'old_' || number, -2500, 'USD', 'posted', 'card', '', now(), current_date, '', 1"
            " FROM generate_series(1, 20000) AS number"
        )
        owner.execute("VACUUM ANALYZE snapshot.transactions")
        await mirror(books, "txn_posted", client_reference=accepted["bank_key"])
        with owner.transaction():
            assert owner.execute("SELECT transfer.settle(10)").fetchone() == (1,)
            scanned = owner.execute(
                "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = 'snapshot.transactions'::regclass"
            ).fetchone()

    assert scanned == (0,)
