"""A mirror filled by hand, as its owner, and the read API in front of it, over ASGI."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import psycopg
from psycopg.types.json import Json
from starlette.types import ASGIApp, Message

from readapi.app import create_app
from readapi.settings import ReadapiSettings

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Mirror:
    """Writes what ingest and transfers would have written; what is not given is unremarkable."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True)
        self._ids = count(1)
        self._insert(
            "sync.connections",
            connection_id="default",
            bank="generic",
            bank_id="-",
            base_url="-",
            capabilities=Json({}),
        )

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def run(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement as the owner."""
        cursor = self._connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []

    def _insert(self, table: str, **row: Any) -> None:
        columns, places = ", ".join(row), ", ".join(["%s"] * len(row))
        self.run(f"INSERT INTO {table} ({columns}) VALUES ({places})", *row.values())

    def account(self, account_id: str, currency: str = "USD", **row: Any) -> str:
        """An account."""
        plain = {"name": "Operating", "type": "checking", "status": "open", "connection_id": "default"}
        self._insert("snapshot.accounts", account_id=account_id, currency=currency, **{**plain, **row})
        return account_id

    def feed(self, feed: str, account_id: str = "", **row: Any) -> None:
        """A feed that was read completely a second ago; the whole connection's unless an account is named."""
        now = datetime.now(UTC)
        plain = {
            "connection_id": "default",
            "interval_seconds": 30,
            "synced_at": now - timedelta(seconds=1),
            "bank_as_of": now - timedelta(seconds=2),
            "fresh_until": now + timedelta(seconds=60),
            "complete": True,
        }
        self._insert("sync.targets", account_id=account_id, feed=feed, **{**plain, **row})
        if feed == "accounts":
            # The accounts that are here were in the listing.
            self.run("UPDATE snapshot.accounts SET last_seen_at = now()")

    def feeds(self) -> None:
        """All three feeds, fresh."""
        for feed in ("accounts", "balances", "transactions"):
            self.feed(feed)

    def transaction(self, account_id: str, amount_minor: int = -1250, **row: Any) -> str:
        """A posted transaction."""
        transaction_id: str = row.pop("transaction_id", None) or f"tx_{next(self._ids):06}"
        plain = {
            "currency": "USD",
            "status": "posted",
            "type": "card",
            "description": "COFFEE",
            "counterparty_name": "Coffee Ltd",
            "created_at": NOON,
            "booked_on": NOON.date(),
            "content_hash": b"",
            "run_id": 1,
        }
        given = {**plain, **row}
        self._insert(
            "snapshot.transactions",
            account_id=account_id,
            transaction_id=transaction_id,
            amount_minor=amount_minor,
            **given,
        )
        return transaction_id

    def revision(self, account_id: str, transaction_id: str, **row: Any) -> None:
        """A version of a transaction that is believed no more."""
        plain = {
            "amount_minor": -1000,
            "currency": "USD",
            "status": "pending",
            "type": "card",
            "description": "HOLD",
            "created_at": NOON,
            "content_hash": b"",
            "known_from": NOON,
            "known_to": NOON + timedelta(days=1),
            "ended_by": "changed",
            "run_id": 1,
            "ended_run_id": 2,
        }
        self._insert(
            "snapshot.transaction_revisions",
            account_id=account_id,
            transaction_id=transaction_id,
            **{**plain, **row},
        )

    def balance(self, account_id: str, current_minor: int = 100_00, **row: Any) -> None:
        """A balance, now and in the history."""
        values = {"currency": "USD", "available_minor": None, "as_of": NOON, "run_id": 1, **row}
        self._insert("snapshot.balances", account_id=account_id, current_minor=current_minor, **values)
        self.past_balance(account_id, current_minor, **values)

    def past_balance(self, account_id: str, current_minor: int, **row: Any) -> None:
        """A balance in the history."""
        values = {"currency": "USD", "as_of": NOON, "run_id": 1, **row}
        self._insert("snapshot.balance_snapshots", account_id=account_id, current_minor=current_minor, **values)

    def transfer(self, source_account_id: str, amount_minor: int = 2500, state: str = "ready", **row: Any) -> str:
        """A transfer in a state; one that was sent has an attempt."""
        transfer_id = str(uuid.uuid4())
        sent = state not in ("pending_approval", "ready", "canceled")
        plain = {
            "destination_account_id": "acct_other",
            "currency": "USD",
            "principal": "test",
            "fingerprint": b"",
            "request_bytes": b"",
            "request_sha256": b"",
            "bank_id": "-",
            "bank_key": f"key_{next(self._ids)}",
            "attempts": int(sent),
            "first_sent_at": NOON if sent else None,
            "bank_transaction_id": "bank_1" if state in ("accepted", "settled") else None,
            "created_at": NOON + timedelta(hours=1),
        }
        # Triggers off: they would insist on the whole way to this state.
        self.run("SET session_replication_role = replica")
        self._insert(
            "transfer.transfers",
            transfer_id=transfer_id,
            source_account_id=source_account_id,
            amount_minor=amount_minor,
            state=state,
            **{**plain, **row},
        )
        self.run("SET session_replication_role = origin")
        return transfer_id

    def total(self, account_id: str, booked_on: str, in_minor: int, out_minor: int, currency: str = "USD") -> None:
        """A day's totals, and the run that changed them."""
        self._insert(
            "snapshot.daily_totals",
            account_id=account_id,
            booked_on=booked_on,
            currency=currency,
            in_minor=in_minor,
            out_minor=out_minor,
            entries=2,
        )
        self.run_that_changed()

    def run_that_changed(self, finished_at: datetime | None = None) -> None:
        """A finished run that the materialized view does not hold yet."""
        self.run(
            """
            INSERT INTO sync.runs (connection_id, account_id, feed, lease_epoch, finished_at, outcome, txid)
            VALUES ('default', '', 'transactions', 1, coalesce(%s, now()), 'complete', pg_current_xact_id())
            """,
            finished_at,
        )

    def refresh(self) -> None:
        """Refresh the materialized views."""
        self.run("SELECT read.refresh()")


def settings(database_url: str, **given: Any) -> ReadapiSettings:
    """Settings that do not look at the environment of whoever runs the tests."""
    return ReadapiSettings(
        _env_file=None,
        **{"DATABASE_URL": database_url, "mode": "sandbox", "readapi_connections_max": 4, **given},
    )


@asynccontextmanager
async def running(app: ASGIApp) -> AsyncIterator[ASGIApp]:
    """Run an ASGI application's lifespan, as a server would."""
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    outbox: asyncio.Queue[Message] = asyncio.Queue()

    async def live() -> None:
        await app({"type": "lifespan", "asgi": {}, "state": {}}, inbox.get, outbox.put)

    task = asyncio.create_task(live())
    await inbox.put({"type": "lifespan.startup"})
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    try:
        yield app
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        assert (await outbox.get())["type"] == "lifespan.shutdown.complete"
        await task


@asynccontextmanager
async def asking(database_url: str, **given: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a read API with these settings."""
    async with running(create_app(settings(database_url, **given))) as app:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client
