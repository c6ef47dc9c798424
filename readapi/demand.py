"""What is read is polled more often, and what is asked for newer is polled now: the read API says so to ingest.

Neither is waited for by a request. What was read is told at most once a second; who asks for newer data is told of at
once, together with all who asked while the message before was on its way.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator

import psycopg
import structlog
from fastapi import Request

from kernel.database import Pool
from readapi.store import QUERIES

log = structlog.get_logger()

# Seconds between two messages about what is read, however much that is.
ROUND_SECONDS = 1.0
# PostgreSQL limits a message to 8000 bytes.
NOTIFY_BYTES_MAX = 7_500
# Accounts that are kept apart until the next message; who reads more of them in a second reads them all.
ACCOUNTS_MAX = 2_000
# Ingest hears no more than a day. What is older than an age of more days is older than one day, too.
AGE_SECONDS_MAX = 86_400
# What is answered of the past does not get newer by a poll, and the freshness itself is no data.
_OF_THE_PAST = frozenset({"as_of", "known_at", "known_from", "known_to"})
_SYNC = "/banking/sync"


class _Wanted:
    """Accounts that are not told of yet; all of them where `everything`."""

    def __init__(self) -> None:
        self.accounts: set[str] = set()
        self.everything = False
        self.age_seconds = AGE_SECONDS_MAX
        self.wake = asyncio.Event()

    def add(self, accounts: Iterable[str] | None) -> None:
        if accounts is not None:
            self.accounts.update(accounts)
        if accounts is None or len(self.accounts) > ACCOUNTS_MAX:
            self.everything, self.accounts = True, set()
        self.wake.set()


class Demand:
    """The accounts that were answered for, and those that were asked for newer, since the last message."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._read = _Wanted()
        self._hastened = _Wanted()

    def note(self, account_id: str | None) -> None:
        """An account was read, or None: all of them. Costs a request nothing."""
        self._read.add(None if account_id is None else (account_id,))

    def hasten(self, accounts: Iterable[str], age_seconds: int) -> None:
        """Have these accounts polled now, as what we have of them is older than this."""
        if accounts := list(accounts):
            # Each of them is older than its own caller bears, so the least age of all is true of each.
            self._hastened.age_seconds = min(self._hastened.age_seconds, age_seconds)
            self._hastened.add(accounts)

    async def tell(self) -> None:
        """Tell ingest, until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._tell_read())
            both.create_task(self._tell_hastened())

    async def _tell_read(self) -> None:
        while True:
            await self._read.wake.wait()
            wanted, self._read = self._read, _Wanted()
            await self._send(payloads(wanted.accounts, everything=wanted.everything))
            await asyncio.sleep(ROUND_SECONDS)

    async def _tell_hastened(self) -> None:
        while True:
            await self._hastened.wake.wait()
            wanted, self._hastened = self._hastened, _Wanted()
            age = {"max_age": wanted.age_seconds}
            await self._send(payloads(wanted.accounts, everything=wanted.everything, **age))

    async def _send(self, messages: Iterable[str]) -> None:
        try:
            async with self._pool.connection() as connection:
                for payload in messages:
                    await connection.execute(QUERIES["demand_notify"], {"payload": payload})
        except psycopg.Error as error:
            # Whoever reads again is told of again.
            log.info("demand was not told", error=type(error).__name__)


def note_read(request: Request) -> None:
    """Note what a request was answered with, if a poll could make it newer."""
    if request.url.path == _SYNC or _OF_THE_PAST & request.query_params.keys():
        return
    demand: Demand = request.app.state.demand
    demand.note(request.path_params.get("account_id") or request.query_params.get("account_id"))


def payloads(accounts: set[str], *, everything: bool, **more: float) -> Iterator[str]:
    """The messages, each short enough: {"accounts": [...]} and what `more` there is, with null for all."""
    if everything:
        yield json.dumps({"accounts": None, **more})
    batch: list[str] = []
    size = 0
    for account_id in sorted(accounts):
        # As the message will have it: quoted, and in ASCII.
        length = len(json.dumps(account_id)) + 2
        if length > NOTIFY_BYTES_MAX:
            continue
        if batch and size + length > NOTIFY_BYTES_MAX:
            yield json.dumps({"accounts": batch, **more})
            batch, size = [], 0
        batch.append(account_id)
        size += length
    if batch:
        yield json.dumps({"accounts": batch, **more})
