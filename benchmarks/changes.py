"""A bank's changes applied by ingest's own poll, so many a second, for what reads meanwhile.

The bank is in memory; everything behind it is real: lease, changeset, totals, a transaction a poll and the
notification at its end. Each change is a new transaction of an account drawn at random.

    python -m benchmarks.changes <database URL> <accounts> <changes a second>

It prints a line when it has begun, and one with what it has done when it is told to end.
"""

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

from banks.generic import CAPABILITIES
from banks.generic_rows import transaction
from banks.ports import ChangePage, FetchedAccount, FetchedBalance, FetchedTransaction, Page, Window
from benchmarks.filled import account_id
from ingest import store
from ingest.decide import DEFAULT_CONNECTION
from ingest.poll import Desk, poll
from ingest.settings import IngestSettings
from kernel.database import INGEST, make_pool
from kernel.log import configure_log

POLLS_PER_SECOND = 5


class Bank:
    """Each time it is asked for changes, so many accounts have a new transaction."""

    name = "generic"
    base_url = "http://127.0.0.1"
    capabilities = CAPABILITIES

    def __init__(self, accounts: int, changes: int) -> None:
        self._accounts = accounts
        self._changes = changes
        self._asked = 0
        self._dice = random.Random(1)  # noqa: S311  # The same changes in every run.

    async def changes(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """One page."""
        self._asked += 1
        changed = self._dice.sample(range(self._accounts), min(self._changes, self._accounts))
        yield ChangePage([self._row(number) for number in changed], [], [], f"c{self._asked}", False, datetime.now(UTC))

    def _row(self, number: int) -> FetchedTransaction:
        now = datetime.now(UTC)
        return transaction(
            {
                "transaction_id": f"new_{self._asked:06d}_{number:04d}",
                "account_id": account_id(number),
                "amount_cents": self._dice.randrange(1, 500_000),
                "currency": "USD",
                "status": "posted",
                "type": "card",
                "description": "SQ *BLUE DOOR COFFEE",
                "counterparty": {"name": "Blue Door Coffee", "account_id": None},
                "created_at": now.isoformat(),
                "booked_on": now.date().isoformat(),
                "pending_transaction_id": None,
                "client_reference": None,
            }
        )

    def accounts(self) -> AsyncIterator[Page[FetchedAccount]]:
        """Nobody asks."""
        raise NotImplementedError

    def balances(self, account_id: str | None) -> AsyncIterator[Page[FetchedBalance]]:
        """Nobody asks."""
        raise NotImplementedError

    def transactions(
        self, account_id: str, window: Window, cursor: str | None
    ) -> AsyncIterator[Page[FetchedTransaction]]:
        """Nobody asks."""
        raise NotImplementedError

    async def register_webhook(self, url: str) -> None:
        """Nobody asks."""
        raise NotImplementedError


async def apply(database_url: str, accounts: int, per_second: int) -> None:
    """Poll until told to end."""
    settings = IngestSettings(
        _env_file=None, DATABASE_URL=database_url, BANK_API_BASE_URL="http://127.0.0.1", BANK_API_KEY="bench"
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    began, applied, polls = time.monotonic(), 0, 0
    async with make_pool(database_url, INGEST, max_size=2) as pool:
        desk = Desk(Bank(accounts, per_second // POLLS_PER_SECOND), pool, settings)
        while not ended.is_set():
            claims = await store.claim(
                pool,
                connection_id=DEFAULT_CONNECTION,
                holder="bench",
                lease_seconds=settings.lease_seconds,
                only=("transactions", ""),
            )
            # The feed was read completely; it is not begun anew.
            polled = await poll(desk, replace(claims[0], cursor=claims[0].cursor or "c0"))
            if polled.outcome != "complete":
                raise AssertionError(f"a poll ended as {polled.outcome}: {polled.error}")
            applied, polls = applied + polled.applied.rows_changed, polls + 1
            if polls == 1:
                print("applying", flush=True)
            pause = began + polls / POLLS_PER_SECOND - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, pause)):
                    await ended.wait()
            except TimeoutError:
                pass
    print(json.dumps({"applied": applied, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    # To standard error, and only what should not be: the figures are on standard output.
    configure_log("changes", "warning", "console")
    asyncio.run(apply(sys.argv[1], *map(int, sys.argv[2:])))
