"""Who asks for a poll: readers by `NOTIFY bankmirror_demand`, the bank by its webhooks. Both are hints.

A hint makes targets due and carries no data. One that is lost costs time and never truth: the next poll comes anyway.
A connection of its own listens; while the database is away nothing is heard, and it comes back by itself.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated

import psycopg
import structlog
from psycopg import AsyncConnection
from pydantic import BaseModel, Field, ValidationError

from ingest.budget import Budget
from ingest.store import QUERIES
from kernel.database import Pool

log = structlog.get_logger()

DEMAND_CHANNEL = "bankmirror_demand"
PAUSED_CHANNEL = "bankmirror_paused"
# Seconds between two rounds: a hundred readers of one account are one question.
ROUND_SECONDS = 0.1
# Seconds until targets are asked again that a run was just storing into.
SKIPPED_SECONDS = 0.25
# Seconds before the listener connects again, doubled up to the second one.
RECONNECT_SECONDS_MIN = 1.0
RECONNECT_SECONDS_MAX = 30.0
# Account ids that are kept apart until the next round; more than this are all.
ACCOUNTS_MAX = 10_000


class Demand(BaseModel):
    """What a reader asks for: polls of these accounts (null: all) if what we have is older than `max_age` seconds.

    Without `max_age` it only says that they are read.
    """

    # Text with a NUL is no id, and the database would refuse the whole round for it.
    accounts: list[Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]] | None
    max_age: float | None = Field(None, ge=0, le=86_400)


class _Paused(BaseModel):
    """Another process was told to wait."""

    connection_id: str
    seconds: float = Field(ge=0, le=86_400)


@dataclass
class _Wanted:
    """Accounts that somebody asked for since the last round; all of them where `everything`."""

    everything: bool = False
    accounts: set[str] = field(default_factory=set)
    age_max_seconds: float = math.inf

    def add(self, accounts: Iterable[str] | None, age_max_seconds: float = math.inf) -> None:
        self.age_max_seconds = min(self.age_max_seconds, age_max_seconds)
        if accounts is None:
            self.everything = True
        else:
            self.accounts.update(accounts)
        if self.everything or len(self.accounts) > ACCOUNTS_MAX:
            self.everything, self.accounts = True, set()

    def __bool__(self) -> bool:
        return self.everything or bool(self.accounts)

    @property
    def ids(self) -> list[str] | None:
        return None if self.everything else sorted(self.accounts)


class Demands:
    """Gathers what is asked for, and makes it due in rounds. `due` is told when there may be something to claim."""

    def __init__(self, pool: Pool, connection_id: str, quick_seconds: float, due: Callable[[], None]) -> None:
        self._pool = pool
        self._connection_id = connection_id
        self._quick_seconds = quick_seconds
        self._due = due
        self._read = _Wanted()
        self._hastened = _Wanted()
        self._wake = asyncio.Event()

    def hear(self, payload: str) -> None:
        """What a reader sent. Whatever else somebody sends on the channel means nothing."""
        try:
            demand = Demand.model_validate_json(payload)
        except ValidationError:
            log.warning("a demand that cannot be read", length=len(payload))
            return
        self._read.add(demand.accounts)
        if demand.max_age is not None:
            self._hastened.add(demand.accounts, demand.max_age)
        self._wake.set()

    def hasten(self, accounts: Iterable[str] | None) -> None:
        """Poll these accounts, None for all, at once: the bank says that they changed."""
        self._hastened.add(accounts, 0.0)
        self._wake.set()

    async def work(self) -> None:
        """Make due what was asked for, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                skipped = await self._round()
            except psycopg.Error as error:
                # Whoever reads asks again; what the bank hinted at is polled in its turn.
                log.warning("demand was not heeded", error=type(error).__name__, sqlstate=error.sqlstate)
                skipped = False
            await asyncio.sleep(SKIPPED_SECONDS if skipped else ROUND_SECONDS)

    async def _round(self) -> bool:
        """One round; True when some targets have to be asked again in a moment."""
        read, self._read = self._read, _Wanted()
        hastened, self._hastened = self._hastened, _Wanted()
        skipped = False
        if read and await self._move("targets_demand", read, quick_seconds=self._quick_seconds):
            skipped = True
            self._read.add(read.ids)
        if hastened and await self._move("targets_hasten", hastened, age_max_seconds=hastened.age_max_seconds):
            skipped = True
            self._hastened.add(hastened.ids, hastened.age_max_seconds)
        if skipped:
            self._wake.set()
        self._due()
        return skipped

    async def _move(self, query: str, wanted: _Wanted, **seconds: float) -> int:
        parameters = {"connection_id": self._connection_id, "account_ids": wanted.ids, **seconds}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(QUERIES[query], parameters)).fetchone()
        return 0 if row is None else int(row[0])


async def listen(conninfo: str, connection_id: str, demands: Demands, budget: Budget | None) -> None:
    """Hear readers and other processes until cancelled, on a connection that is made again when it is lost."""
    pause = RECONNECT_SECONDS_MIN
    while True:
        with suppress(psycopg.Error):
            async with await AsyncConnection.connect(conninfo, autocommit=True) as connection:
                await connection.execute(f"LISTEN {DEMAND_CHANNEL}")
                await connection.execute(f"LISTEN {PAUSED_CHANNEL}")
                if budget is not None:
                    await budget.learn()
                pause = RECONNECT_SECONDS_MIN
                async for notice in connection.notifies():
                    if notice.channel == DEMAND_CHANNEL:
                        demands.hear(notice.payload)
                    elif budget is not None:
                        _hear_pause(notice.payload, connection_id, budget)
        log.warning("demand is not heard, connecting again", pause_seconds=pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, RECONNECT_SECONDS_MAX)


def _hear_pause(payload: str, connection_id: str, budget: Budget) -> None:
    with suppress(ValidationError):
        paused = _Paused.model_validate_json(payload)
        if paused.connection_id == connection_id:
            budget.pause(paused.seconds)
