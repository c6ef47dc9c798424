"""What becomes of money when the database goes away (D1, D2, D4-D7), around every commit that matters."""

import asyncio
import time
from collections.abc import AsyncIterator

import psycopg
import pytest
from pydantic import SecretStr

from tests.integration.transfers.conftest import BODY, LEASE_SECONDS, RESEND_SECONDS, Books, running
from tests.integration.transfers.model_bank import ModelBank, Reaction
from tests.integration.transfers.proxy import Cut, Proxy, open_proxy
from tests.waiting import PATIENCE, until
from transfers.settings import TransfersSettings

KEY = {"Idempotency-Key": "a-key-of-this-test"}
ACCEPTING = b"'transfer.requested'"
CLAIMING = b"'transfer.submitting'"
RECORDING = b"'transfer.' || to_state"
RESENDING = b"'transfer.sent_again'"
READING = b"AND action = 'transfer.requested'"


@pytest.fixture
async def proxy(seeded: str) -> AsyncIterator[Proxy]:
    async with open_proxy(seeded) as opened:
        yield opened


@pytest.fixture
def by_proxy(settings: TransfersSettings, proxy: Proxy, seeded: str) -> TransfersSettings:
    return settings.model_copy(update={"database_url": SecretStr(proxy.url(seeded))})


@pytest.mark.parametrize("where", list(Cut))
async def test_d4_cut_around_the_commit_of_acceptance(
    by_proxy: TransfersSettings, proxy: Proxy, bank: ModelBank, books: Books, where: Cut
) -> None:
    """D4: 503 that may be tried again, and the same key then returns the transfer: never two, whatever was
    committed.
    """
    async with running(by_proxy, bank) as client:
        proxy.cut(ACCEPTING, where)
        first = await client.post("/banking/transfer", json=BODY, headers=KEY)
        assert proxy.fired.is_set()
        assert (first.status_code, first.json()["type"]) == (503, "/problems/database-unavailable")
        assert first.json()["retryable"] is True
        assert len(await books.transfers()) == (0 if where is Cut.BEFORE else 1)

        second = await client.post("/banking/transfer", json=BODY, headers=KEY)

    assert second.status_code == 200
    assert second.headers.get("Idempotent-Replayed") == (None if where is Cut.BEFORE else "true")
    assert len(bank.executed) == 1
    assert len(await books.transfers()) == 1


@pytest.mark.parametrize("where", list(Cut))
async def test_d4_without_a_key_nobody_is_invited_to_repeat_it(
    by_proxy: TransfersSettings, proxy: Proxy, bank: ModelBank, books: Books, where: Cut
) -> None:
    """D4: the same request again would be a second transfer, so that the answer must not call it retryable."""
    async with running(by_proxy, bank) as client:
        proxy.cut(ACCEPTING, where)
        answer = await client.post("/banking/transfer", json=BODY)

    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/outcome-unknown")
    assert answer.json()["retryable"] is False
    assert "Retry-After" not in answer.headers
    assert len(await books.transfers()) == (0 if where is Cut.BEFORE else 1)


async def test_d2_a_recorded_transfer_is_named_though_its_state_cannot_be_read(
    by_proxy: TransfersSettings, proxy: Proxy, bank: ModelBank, books: Books
) -> None:
    """D2: the database went away after the acceptance; without a key the answer says which transfer it is."""
    async with running(by_proxy, bank) as client:
        bank.door.clear()
        asking = asyncio.create_task(client.post("/banking/transfer", json=BODY))
        await bank.arrived.wait()
        proxy.is_down = True
        proxy.cut(READING, Cut.BEFORE)
        answer = await asking
        proxy.is_down = False
        bank.door.set()

    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/outcome-unknown")
    transfer_id = str((await books.transfer())["transfer_id"])
    assert answer.headers["Location"] == f"/banking/transfers/{transfer_id}"
    assert transfer_id in answer.json()["detail"]


@pytest.mark.parametrize("where", list(Cut))
async def test_d5_without_an_acknowledged_commit_nothing_is_sent(
    by_proxy: TransfersSettings, proxy: Proxy, bank: ModelBank, books: Books, where: Cut
) -> None:
    """D5: the claim may be committed, but nobody told us: no POST. When its lease is over it is looked up
    first.
    """
    async with running(by_proxy.model_copy(update={"transfers_wait_seconds": 0}), bank) as client:
        proxy.cut(CLAIMING, where)
        await client.post("/banking/transfer", json=BODY, headers=KEY)
        await proxy.fired.wait()
        if where is not Cut.BEFORE:
            await books.until("submitting")
            await books.pass_time(LEASE_SECONDS + 1)
            await books.contacts("absent", 1)
            assert bank.posts == []
            await books.pass_time(RESEND_SECONDS)
        await books.until("accepted")

    bank.check_posts()
    assert len(bank.posts) == 1
    states = await books.states()
    if where is Cut.BEFORE:
        assert states == ["requested", "submitting", "accepted"]
    else:
        assert states == ["requested", "submitting", "unknown", "sent_again", "accepted"]
        assert (await books.attempts())[0] == ("post", None), "the one that was never acknowledged"


@pytest.mark.parametrize("where", list(Cut))
async def test_an_outcome_that_was_not_recorded_is_looked_up(
    by_proxy: TransfersSettings, proxy: Proxy, bank: ModelBank, books: Books, where: Cut
) -> None:
    """The bank paid, and the database went away before we could write it down: found again, never paid again."""
    async with running(by_proxy.model_copy(update={"transfers_wait_seconds": 0}), bank) as client:
        proxy.cut(RECORDING, where)
        await client.post("/banking/transfer", json=BODY, headers=KEY)
        await proxy.fired.wait()
        if where is Cut.BEFORE:
            await books.until("submitting")
            await books.pass_time(LEASE_SECONDS + 1)
        await books.until("accepted")

    assert len(bank.posts) == 1
    assert bank.paid_more_than_once() == []


@pytest.mark.parametrize("where", list(Cut))
async def test_d5_holds_for_sending_again(
    by_proxy: TransfersSettings, proxy: Proxy, bank: ModelBank, books: Books, where: Cut
) -> None:
    """D5: the second POST needs its own acknowledged commit, like the first."""
    bank.reactions = [Reaction.LOST_BEFORE]
    async with running(by_proxy.model_copy(update={"transfers_wait_seconds": 0}), bank) as client:
        await client.post("/banking/transfer", json=BODY, headers=KEY)
        await books.contacts("unknown", 1)
        proxy.cut(RESENDING, where)
        await books.pass_time(RESEND_SECONDS)
        await proxy.fired.wait()
        if where is not Cut.BEFORE:
            # Committed, and nobody was told: it may have left until its lease is over, and is given time to arrive.
            await books.pass_time(LEASE_SECONDS + 1)

            async def looked_up_since() -> bool:
                attempts = await books.attempts()
                return ("lookup", "absent") in attempts[attempts.index(("post", None)) :]

            await until(looked_up_since)
            assert len(bank.posts) == 1
        await books.pass_time(RESEND_SECONDS)
        await books.until("accepted")

    bank.check_posts()
    assert len(bank.posts) == 2


async def test_d1_a_restart_of_the_database_costs_no_request(
    settings: TransfersSettings, bank: ModelBank, books: Books
) -> None:
    """D1: every connection is cut between two requests; neither fails, and notifications arrive again."""
    async with running(settings.model_copy(update={"transfers_wait_seconds": PATIENCE}), bank) as client:
        assert (await client.post("/banking/transfer", json=BODY)).status_code == 200
        await books.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bankmirror transfers'"
            " AND datname = current_database()"
        )
        assert (await client.post("/banking/transfer", json=BODY)).status_code == 200

        async def listens_again() -> bool:
            listeners = await books.rows(
                "SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND datname = current_database()"
            )
            return bool(listeners) and "bankmirror_transfer_listening 1.0" in (await client.get("/metrics")).text

        await until(listens_again)


async def test_d2_while_the_database_is_down_clients_are_told_soon(
    by_proxy: TransfersSettings, proxy: Proxy, bank: ModelBank, books: Books, seeded: str
) -> None:
    """D2: 503 in seconds, not half a minute, and everything goes on when it is back."""
    async with running(by_proxy, bank) as client:
        proxy.is_down = True
        await books.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bankmirror transfers'"
            " AND datname = current_database()"
        )
        began = time.monotonic()
        answer = await client.post("/banking/transfer", json=BODY, headers=KEY)
        assert answer.status_code == 503
        assert time.monotonic() - began < 15, (
            "as long as the pool and a busy machine take, and not until a driver gives up"
        )
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/health")).status_code == 200

        proxy.is_down = False

        async def well_again() -> bool:
            return (await client.post("/banking/transfer", json=BODY, headers=KEY)).status_code == 200

        await until(well_again)
    assert len(bank.executed) == 1


@pytest.mark.parametrize(("deadlocks", "status"), [(2, 200), (50, 503)])
async def test_d6_a_deadlock_is_tried_again(
    settings: TransfersSettings, bank: ModelBank, books: Books, deadlocks: int, status: int
) -> None:
    """D6: the one failure that certainly changed nothing; up to five times."""
    for statement in (
        "CREATE SEQUENCE public.tries",
        "GRANT USAGE ON SEQUENCE public.tries TO bankmirror_transfers",
        "CREATE FUNCTION public.deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('public.tries') <= {deadlocks} THEN RAISE EXCEPTION 'd' USING ERRCODE = '40P01'; END IF;"
        " RETURN NEW; END $$",
        "GRANT USAGE ON SCHEMA public TO bankmirror_transfers",
        "GRANT EXECUTE ON FUNCTION public.deadlock TO PUBLIC",
        "CREATE TRIGGER deadlock BEFORE INSERT ON transfer.transfers FOR EACH ROW EXECUTE FUNCTION public.deadlock()",
    ):
        await books._connection.execute(statement.encode())

    async with running(settings, bank) as client:
        answer = await client.post("/banking/transfer", json=BODY, headers=KEY)

    assert answer.status_code == status
    assert len(await books.transfers()) == (1 if status == 200 else 0)


async def test_d7_the_same_key_in_another_transaction_is_in_progress(
    settings: TransfersSettings, bank: ModelBank, books: Books, seeded: str
) -> None:
    """D7: who waits for the lock longer than a second is told to come back, and then finds what there is."""
    async with running(settings, bank) as client:
        async with await psycopg.AsyncConnection.connect(seeded) as other:
            await other.execute(
                "INSERT INTO transfer.transfers (transfer_id, principal, client_key, fingerprint, source_account_id,"
                " destination_account_id, amount_minor, currency, bank_id, bank_key, request_bytes,"
                " request_sha256, state)"
                " VALUES (gen_random_uuid(), 'sandbox', %s, '', 'a', 'b', 1, 'USD', 'bank', 'k', '', '', 'ready')",
                [KEY["Idempotency-Key"]],
            )
            answer = await client.post("/banking/transfer", json=BODY, headers=KEY)
            assert (answer.status_code, answer.json()["type"]) == (409, "/problems/request-in-progress")
            assert answer.headers["Retry-After"] == "1"
            await other.rollback()

        assert (await client.post("/banking/transfer", json=BODY, headers=KEY)).status_code == 200


async def test_a_busy_audit_chain_is_overload_and_not_a_conflict(
    settings: TransfersSettings, bank: ModelBank, books: Books, seeded: str
) -> None:
    """Waiting for the head of the chain has nothing to do with the client's key: 503, and nothing written."""
    async with running(settings, bank) as client:
        async with await psycopg.AsyncConnection.connect(seeded) as other:
            await other.execute("SELECT FROM audit.head FOR UPDATE")
            answer = await client.post("/banking/transfer", json=BODY, headers=KEY)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/overloaded")
            assert await books.transfers() == []

        assert (await client.post("/banking/transfer", json=BODY, headers=KEY)).status_code == 200
