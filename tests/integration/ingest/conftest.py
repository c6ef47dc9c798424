"""Ingest in this process, in its role, on a real PostgreSQL, against a bank that a test moves by hand."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from banks.ports import BankReader
from ingest import decide, store
from ingest.decide import Feed
from ingest.poll import Desk, Polled, poll
from ingest.settings import IngestSettings
from kernel.database import INGEST, Pool, make_pool
from tests.conftest import Connect
from tests.integration.ingest.model_bank import ModelBank
from tests.waiting import PATIENCE

Rows = list[TupleRow]


@pytest.fixture
def settings(database_url: str) -> IngestSettings:
    """Intervals so long that nothing is due by itself."""
    return IngestSettings(
        _env_file=None,
        DATABASE_URL=database_url,
        BANK_API_BASE_URL="http://127.0.0.1:1",
        BANK_API_KEY="not-used",
        mode="sandbox",
        poll_seconds=3600,
    )


@pytest.fixture
async def pool(settings: IngestSettings) -> AsyncIterator[Pool]:
    """Connections in the role of ingest."""
    async with make_pool(settings.database_url.get_secret_value(), INGEST, max_size=4) as opened:
        yield opened


@pytest.fixture
async def owner(connect: Connect) -> AsyncConnection[TupleRow]:
    """One who may look at everything and set the stage."""
    return await connect()


@pytest.fixture
def bank() -> ModelBank:
    """A bank with two accounts and nothing in them."""
    model = ModelBank()
    model.open_account("acct_a")
    model.open_account("acct_b", currency="JPY")
    return model


class Mirror:
    """What a test does with ingest, and what it asks of the database afterwards."""

    def __init__(self, pool: Pool, settings: IngestSettings, owner: AsyncConnection[TupleRow]) -> None:
        self.pool = pool
        self.settings = settings
        self.owner = owner

    async def open(self, reader: BankReader, **changes: Any) -> Desk:
        """A desk for a bank, registered, with its accounts and balances read."""
        settings = self.settings.model_copy(update=changes)
        per_account = decide.feeds_per_account(reader.capabilities, settings.read_mode)
        await store.register(
            self.pool,
            reader,
            settings.identity,
            "default",
            per_account,
            settings.poll_seconds,
            sets_pace=True,
        )
        desk = Desk(reader, self.pool, settings)
        await self.poll(desk, "accounts")
        return desk

    async def claim(self, desk: Desk, feed: Feed = "transactions", account_id: str = "") -> store.Claim:
        """The lease on one target, due or not."""
        claims = await store.claim(
            desk.pool,
            connection_id="default",
            holder=desk.settings.worker,
            lease_seconds=desk.settings.lease_seconds,
            only=(feed, account_id),
        )
        assert claims, f"{feed} {account_id} is held by somebody"
        return claims[0]

    async def poll(self, desk: Desk, feed: Feed = "transactions", account_id: str = "") -> Polled:
        """One poll of one target."""
        return await poll(desk, await self.claim(desk, feed, account_id))

    async def rows(self) -> set[tuple[Any, ...]]:
        """The mirrored transactions, as `ModelBank.good_rows` shows the bank's."""
        return set(
            await self.ask(
                "SELECT account_id, transaction_id, amount_minor, currency, status, booked_on, content_hash"
                " FROM snapshot.transactions"
            )
        )

    async def ask(self, query: str, *parameters: Any) -> Rows:
        """Any rows of the database."""
        cursor = await self.owner.execute(query.encode(), parameters or None)
        return await cursor.fetchall()

    async def heard(self) -> list[str]:
        """What a listening owner was told so far. Notifications come in the order of their commits."""
        await self.ask("SELECT pg_notify('bankmirror_changed', 'that is all')")
        payloads: list[str] = []
        async for note in self.owner.notifies(timeout=PATIENCE):
            if note.payload == "that is all":
                return payloads
            payloads.append(note.payload)
        raise TimeoutError("not even our own notification")

    async def target(self, column: str, feed: Feed = "transactions", account_id: str = "") -> Any:
        """One column of a target."""
        found = await self.ask(
            f"SELECT {column} FROM sync.targets WHERE feed = %s AND account_id = %s", feed, account_id
        )
        return found[0][0]

    async def history(self, transaction_id: str) -> list[tuple[str, int]]:
        """How each old version of a transaction ended, and its amount, oldest first."""
        return await self.ask(
            "SELECT ended_by, amount_minor FROM snapshot.transaction_revisions WHERE transaction_id = %s"
            " ORDER BY known_to",
            transaction_id,
        )

    async def pass_interval(self) -> None:
        """Let what was missed have been missed an interval ago."""
        await self.owner.execute("UPDATE sync.missing SET first_missed_at = first_missed_at - interval '2 hours'")

    async def check(self) -> None:
        """Totals are what counting gives; versions of a row follow each other without gap or overlap."""
        assert set(
            await self.ask(
                "SELECT account_id, booked_on, currency, in_minor, out_minor, entries"
                " FROM snapshot.daily_totals WHERE entries <> 0 OR in_minor <> 0 OR out_minor <> 0"
            )
        ) == set(
            await self.ask(
                "SELECT account_id, booked_on, currency,"
                " coalesce(sum(amount_minor) FILTER (WHERE amount_minor > 0), 0),"
                " coalesce(sum(amount_minor) FILTER (WHERE amount_minor < 0), 0), count(*)"
                " FROM snapshot.transactions WHERE status = 'posted' GROUP BY 1, 2, 3"
            )
        )
        assert not await self.ask(
            "WITH versions AS (SELECT account_id, transaction_id, known_from, known_to, ended_by"
            " FROM snapshot.transaction_revisions UNION ALL"
            " SELECT account_id, transaction_id, known_from, 'infinity', 'shown' FROM snapshot.transactions)"
            " SELECT * FROM (SELECT *, lead(known_from) OVER (PARTITION BY account_id, transaction_id"
            " ORDER BY known_from, known_to) AS next_from FROM versions) AS version"
            " WHERE known_to < known_from OR next_from < known_to"
            " OR (ended_by = 'changed' AND next_from IS DISTINCT FROM known_to)"
        )

    async def everything(self) -> list[Rows]:
        """All that is believed, without what says when it was confirmed."""
        return [
            sorted(await self.ask(f"SELECT * FROM snapshot.{table}"), key=repr)
            for table in ("transactions", "transaction_revisions", "daily_totals", "balance_snapshots")
        ]


@pytest.fixture
def mirror(pool: Pool, settings: IngestSettings, owner: AsyncConnection[TupleRow]) -> Mirror:
    """See `Mirror`."""
    return Mirror(pool, settings, owner)
