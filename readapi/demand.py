"""What is read is polled more often: the read API says so, at most once a second, and no request waits for it."""

import asyncio
import json
from collections.abc import Iterator

import psycopg
import structlog
from fastapi import Request

from kernel.database import Pool
from readapi.store import QUERIES

log = structlog.get_logger()

# Seconds between two messages, however much is read.
ROUND_SECONDS = 1.0
# PostgreSQL limits a message to 8000 bytes.
NOTIFY_BYTES_MAX = 7_500
# Accounts that are kept apart until the next message; who reads more of them in a second reads them all.
ACCOUNTS_MAX = 2_000
# What is answered of the past does not get newer by a poll, and the freshness itself is no data.
_OF_THE_PAST = frozenset({"as_of", "known_at", "known_from", "known_to"})
_SYNC = "/banking/sync"


class Demand:
    """The accounts that were answered for since the last message."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._accounts: set[str] = set()
        self._all = False
        self._wake = asyncio.Event()

    def note(self, account_id: str | None) -> None:
        """An account was read, or None: all of them. Costs a request nothing."""
        if account_id is None or len(self._accounts) >= ACCOUNTS_MAX:
            self._all = True
        else:
            self._accounts.add(account_id)
        self._wake.set()

    async def tell(self) -> None:
        """Tell ingest, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            accounts, self._accounts = self._accounts, set()
            everything, self._all = self._all, False
            try:
                async with self._pool.connection() as connection:
                    for payload in payloads(accounts, everything=everything):
                        await connection.execute(QUERIES["demand_notify"], {"payload": payload})
            except psycopg.Error as error:
                # Whoever reads again is told of again.
                log.info("demand was not told", error=type(error).__name__)
            await asyncio.sleep(ROUND_SECONDS)


def note_read(request: Request) -> None:
    """Note what a request was answered with, if a poll could make it newer."""
    if request.url.path == _SYNC or _OF_THE_PAST & request.query_params.keys():
        return
    demand: Demand = request.app.state.demand
    demand.note(request.path_params.get("account_id") or request.query_params.get("account_id"))


def payloads(accounts: set[str], *, everything: bool) -> Iterator[str]:
    """The messages, each short enough: {"accounts": [...]}, with null for all."""
    if everything:
        yield '{"accounts": null}'
    batch: list[str] = []
    size = 0
    for account_id in sorted(accounts):
        # As the message will have it: quoted, and in ASCII.
        length = len(json.dumps(account_id)) + 2
        if length > NOTIFY_BYTES_MAX:
            continue
        if batch and size + length > NOTIFY_BYTES_MAX:
            yield json.dumps({"accounts": batch})
            batch, size = [], 0
        batch.append(account_id)
        size += length
    if batch:
        yield json.dumps({"accounts": batch})
