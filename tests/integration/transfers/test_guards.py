"""What the database itself refuses, whatever the program does."""

import psycopg
import pytest

from tests.conftest import Connect
from tests.integration.transfers.conftest import BODY, Books, Start
from tests.integration.transfers.model_bank import ModelBank
from transfers.states import EDGES, State

ROLE = "bankmirror_transfers"


async def test_the_edges_in_the_database_are_the_ones_in_the_code(connect: Connect) -> None:
    """One table, written twice: once where it is decided, once where it is enforced."""
    cursor = await (await connect()).execute("SELECT from_state, to_state FROM transfer.edges")

    assert {(State(source), State(to)) for source, to in await cursor.fetchall()} == EDGES


async def test_the_states_in_the_database_are_the_ones_in_the_code(connect: Connect) -> None:
    """A state that only one side knows could never be left, or never be read."""
    cursor = await (await connect()).execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'transfers_state_check'"
    )
    row = await cursor.fetchone()

    assert row is not None
    assert {word for word in row[0].split("'") if word.replace("_", "").isalpha()} == set(State)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transfer.transfers SET amount_minor = 1",
        "UPDATE transfer.transfers SET destination_account_id = 'acct_evil'",
        "UPDATE transfer.transfers SET request_bytes = 'x'",
        "UPDATE transfer.transfers SET bank_key = 'x'",
        "UPDATE transfer.transfers SET bank_id = 'x'",
        "UPDATE transfer.transfers SET principal = 'x'",
        "UPDATE transfer.transfers SET client_key = NULL",
        "DELETE FROM transfer.transfers",
        "TRUNCATE transfer.transfers CASCADE",
        "UPDATE transfer.attempts SET started_at = now()",
        "DELETE FROM transfer.attempts",
        "INSERT INTO transfer.edges VALUES ('rejected', 'ready')",
        "UPDATE audit.events SET actor = 'nobody'",
        "INSERT INTO audit.events SELECT * FROM audit.events",
        "DELETE FROM audit.events",
        "SELECT * FROM audit.events",
        "UPDATE audit.head SET seq = 0",
        "SELECT * FROM audit.head",
        "SELECT * FROM snapshot.accounts",
        "SELECT * FROM snapshot.transactions",
        "UPDATE snapshot.balances SET current_minor = 0",
        "SELECT * FROM read.transactions",
        "SELECT * FROM sync.targets",
        "CREATE TABLE transfer.mine (a int)",
        "CREATE TEMPORARY TABLE mine (a int)",
        "ALTER TABLE transfer.transfers DISABLE TRIGGER check_move",
        "SET session_replication_role = replica",
    ],
)
async def test_the_role_can_do_nothing_else(connect: Connect, statement: str) -> None:
    """What was asked and what is sent are frozen; the mirror and the chain are out of reach."""
    connection = await connect(ROLE)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await connection.execute(statement.encode())


async def test_the_database_allows_the_edges_and_nothing_else(connect: Connect) -> None:
    """All hundred pairs, as the role that moves money."""
    owner = await connect()
    move = (
        b"UPDATE transfer.transfers SET state = %s, bank_transaction_id = 'txn_1', attempts = 1,"
        b" first_sent_at = coalesce(first_sent_at, now())"
    )
    for source in State:
        for to in State:
            await _put(owner, source)
            await owner.execute("SET ROLE bankmirror_transfers")
            if source is to or (source, to) in EDGES:
                await owner.execute(move, [to])
            else:
                with pytest.raises(psycopg.errors.CheckViolation, match="a transfer cannot go from"):
                    await owner.execute(move, [to])
            await owner.execute("RESET ROLE")
            await owner.execute("DELETE FROM transfer.transfers")


@pytest.mark.parametrize("state", sorted(set(State) - {State.READY, State.PENDING_APPROVAL}))
async def test_no_transfer_begins_in_the_middle(connect: Connect, state: State) -> None:
    """A row that was born accepted would be money that nobody asked for."""
    owner = await connect()
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot begin as"):
        await _put(owner, state, as_born=True)


@pytest.mark.parametrize(
    "change",
    [
        "epoch = epoch - 1",
        "attempts = attempts - 1",
        "first_sent_at = first_sent_at + interval '1 day'",
        "first_sent_at = NULL",
    ],
)
async def test_what_only_goes_forward_cannot_be_set_back(
    start: Start, bank: ModelBank, connect: Connect, change: str
) -> None:
    """Epoch, attempts, and the moment from which the bank's memory is counted."""
    await (await start()).post("/banking/transfer", json=BODY)
    connection = await connect(ROLE)

    with pytest.raises(psycopg.errors.CheckViolation):
        await connection.execute(f"UPDATE transfer.transfers SET {change}".encode())


async def test_a_key_answers_for_one_transfer_only(start: Start, bank: ModelBank, books: Books) -> None:
    """I-2 stands in the schema, not in the program."""
    headers = {"Idempotency-Key": "a-key-of-this-test"}
    await (await start()).post("/banking/transfer", json=BODY, headers=headers)

    with pytest.raises(psycopg.errors.UniqueViolation, match="one_transfer_per_client_key"):
        await books.rows(
            "INSERT INTO transfer.transfers (transfer_id, principal, client_key, fingerprint, source_account_id,"
            " destination_account_id, amount_minor, currency, bank_id, bank_key, request_bytes, request_sha256, state)"
            " SELECT gen_random_uuid(), principal, client_key, fingerprint, source_account_id, destination_account_id,"
            " amount_minor, currency, bank_id, 'other', request_bytes, request_sha256, 'ready' FROM transfer.transfers"
        )


async def _put(owner: psycopg.AsyncConnection[tuple[object, ...]], state: State, *, as_born: bool = False) -> None:
    if not as_born:
        await owner.execute("SET session_replication_role = replica")
    await owner.execute(
        "INSERT INTO transfer.transfers (transfer_id, principal, fingerprint, source_account_id,"
        " destination_account_id, amount_minor, currency, bank_id, bank_key, request_bytes, request_sha256, state,"
        " bank_transaction_id, attempts, first_sent_at)"
        " VALUES (gen_random_uuid(), 'p', '', 'a', 'b', 1, 'USD', 'bank', 'k', '', '', %s, 'txn_1', 1, now())",
        [state],
    )
    await owner.execute("RESET session_replication_role")
