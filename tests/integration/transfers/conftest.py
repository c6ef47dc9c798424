"""A transfers process in this process, on a real PostgreSQL, in its real role, against a bank that does as it
is told.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from banks.ports import BankPayer
from kernel.database import TRANSFERS, Pool, make_pool
from tests.integration.transfers.model_bank import ModelBank
from tests.waiting import PATIENCE, until
from transfers.accept import Accepted, Asked, accept
from transfers.app import make_app
from transfers.requests import TransferRequest
from transfers.settings import TransfersSettings
from transfers.store import Bank

# The bank of `settings`.
BANK = Bank("default", "http://127.0.0.1:1")
# Of `settings`: the bank's deadline, and twelve seconds for what is before and after it.
LEASE_SECONDS = 22.0
# Past every lease, and past the moment from which a transfer that the bank does not show is sent again.
RESEND_SECONDS = LEASE_SECONDS + 45.0
BODY = {"account_id": "acct_123", "destination_account_id": "acct_456", "amount_cents": 2500}


@pytest.fixture
def settings(seeded: str) -> TransfersSettings:
    """Limits that only a hang reaches, in seconds: a test that wants one to be reached sets it lower.

    The lease is as long as `LEASE_SECONDS`, and ends by `Books.pass_time`.
    """
    return TransfersSettings(
        _env_file=None,
        DATABASE_URL=seeded,
        BANK_API_BASE_URL="http://127.0.0.1:1",
        BANK_API_KEY="not-used",
        mode="sandbox",
        bank_deadline_seconds=10,
        transfers_wait_seconds=PATIENCE,
        transfers_poll_seconds=0.05,
        transfers_settle_seconds=0.2,
        transfers_resend_after_seconds=30,
        transfers_probe_seconds=0.3,
        transfers_drain_seconds=0.3,
    )


@pytest.fixture
def seeded(database_url: str) -> str:
    """A database whose mirror knows some accounts."""
    accounts = [
        ("acct_123", "default", "USD", "open"),
        ("acct_456", "default", "USD", "open"),
        ("acct_yen", "default", "JPY", "open"),
        ("acct_shut", "default", "USD", "closed"),
        ("other:acct_1", "other", "USD", "open"),
    ]
    with psycopg.connect(database_url) as connection:
        connection.cursor().executemany(
            "INSERT INTO snapshot.accounts (account_id, connection_id, name, type, currency, status)"
            " VALUES (%s, %s, 'An account', 'checking', %s, %s)",
            accounts,
        )
    return database_url


@pytest.fixture
def bank(seeded: str) -> ModelBank:
    return ModelBank(seeded)


class Books:
    """What the database says, seen by its administrator; and the passing of time."""

    def __init__(self, connection: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        self._connection = connection

    async def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        return await (await self._connection.execute(query.encode(), parameters)).fetchall()

    async def transfers(self) -> list[dict[str, Any]]:
        return await self.rows("SELECT * FROM transfer.transfers ORDER BY created_at, transfer_id")

    async def transfer(self) -> dict[str, Any]:
        """The only transfer there is."""
        (row,) = await self.transfers()
        return row

    async def attempts(self) -> list[tuple[str, str | None]]:
        rows = await self.rows("SELECT kind, verdict FROM transfer.attempts ORDER BY transfer_id, attempt")
        return [(row["kind"], row["verdict"]) for row in rows]

    async def states(self) -> list[str]:
        """The states that the audit chain shows, in order."""
        rows = await self.rows("SELECT action FROM audit.events ORDER BY seq")
        return [row["action"].removeprefix("transfer.") for row in rows]

    async def until(self, state: str) -> dict[str, Any]:
        """Wait for the only transfer to be in a state that it stays in: an end, or where the test holds it.

        A state that may be over before the next look is waited for by `recorded` or `contacts`.
        """

        async def reached() -> dict[str, Any]:
            row = await self.transfer()
            return row if row["state"] == state else {}

        return await until(reached, pause=0.02)

    async def recorded(self, state: str) -> None:
        """Wait until the audit chain shows that a transfer has been in a state, whatever it is in now."""

        async def was() -> bool:
            return state in await self.states()

        await until(was, pause=0.02)

    async def contacts(self, verdict: str, count: int) -> None:
        """Wait until so many contacts with the bank had this verdict, and nobody is at work."""

        async def had() -> bool:
            seen = [found for _, found in await self.attempts()].count(verdict)
            return seen >= count and (await self.transfer())["lease_until"] is None

        await until(had, pause=0.02)

    async def pass_time(self, seconds: float) -> None:
        """Make everything in the database so much older: what the workers see is time passing."""
        await self._connection.execute("SET session_replication_role = replica")
        for statement in (
            "UPDATE transfer.transfers SET first_sent_at = first_sent_at - %(ago)s,"
            " lease_until = lease_until - %(ago)s, next_attempt_at = next_attempt_at - %(ago)s",
            "UPDATE transfer.attempts SET started_at = started_at - %(ago)s, finished_at = finished_at - %(ago)s",
        ):
            await self._connection.execute(statement.encode(), {"ago": timedelta(seconds=seconds)})
        await self._connection.execute("RESET session_replication_role")


@pytest.fixture
async def books(seeded: str) -> AsyncIterator[Books]:
    connection = await psycopg.AsyncConnection.connect(seeded, autocommit=True, row_factory=dict_row)
    async with connection:
        yield Books(connection)


Start = Callable[..., Awaitable[httpx.AsyncClient]]


@asynccontextmanager
async def running(settings: TransfersSettings, bank: BankPayer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a running app."""
    app = make_app(settings, bank)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        yield client


@pytest.fixture
async def start(settings: TransfersSettings, bank: ModelBank) -> AsyncIterator[Start]:
    """Start a transfers process; it is stopped with the test."""
    async with AsyncExitStack() as stack:

        async def begin(**changed: Any) -> httpx.AsyncClient:
            return await stack.enter_async_context(running(settings.model_copy(update=changed), bank))

        yield begin


@pytest.fixture
async def pool(seeded: str) -> AsyncIterator[Pool]:
    # No lock is given up: what a test holds it lets go again, however slowly.
    patient = replace(TRANSFERS, lock_timeout_ms=60_000, statement_timeout_ms=60_000)
    async with make_pool(seeded, patient, max_size=4, autocommit=True) as opened:
        yield opened


@pytest.fixture
async def ready(pool: Pool, bank: ModelBank) -> UUID:
    """A transfer that is ready, and no process that works."""
    asked = Asked("sandbox", None, TransferRequest.model_validate(BODY))
    (accepted,) = await accept(pool, bank, BANK, [asked])
    assert isinstance(accepted, Accepted)
    return accepted.transfer_id
