"""The door that every request to the bank goes through: pauses that the bank asked for, and a budget that all
processes share.

Permits come from the database, a second's worth at a time. Without a limit the door is open and asks nobody; it
only closes while the bank wants a pause, of which the database and a notification tell every process.
"""

import asyncio
import math
from contextvars import ContextVar
from datetime import timedelta
from typing import NamedTuple

import psycopg
import structlog
from psycopg.rows import class_row

from banks.ports import BankThrottled
from ingest import pace
from ingest.decide import RETRY_AFTER_MAX, RETRY_AFTER_MIN
from ingest.store import QUERIES, Kind
from kernel.database import Pool

log = structlog.get_logger()

# Whose request it is. The port of banks knows nothing of budgets, so it travels beside the call; a poll sets it.
KIND: ContextVar[Kind] = ContextVar("kind", default="transactions")

# Seconds that a request waits at the door. A longer pause is the scheduler's business: here it would hold a lease
# and a slot for nothing. It is well below what is left of a run after its deadline.
WAIT_SECONDS_MAX = 30.0
# Pauses as short as this are waited for at once.
PAUSE_WAITED_SECONDS_MAX = 2.0


class _Taken(NamedTuple):
    """What the bucket gave, and how long it takes until it has the next permit."""

    permits: int
    paused_seconds: float
    wait_seconds: float


class _Queue:
    """Requests of one kind: one asks for permits, the others stand behind it."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.waiting = 0
        self.permits = 0
        self.permits_until = 0.0


class Budget:
    """What this process may ask of a connection's bank. A `banks.http.Gate`."""

    def __init__(self, pool: Pool, connection_id: str, requests_per_minute: int | None) -> None:
        self._pool = pool
        self._connection_id = connection_id
        self._allowance = None if requests_per_minute is None else pace.allow(requests_per_minute)
        self._queues: dict[Kind, _Queue] = {"listings": _Queue(), "transactions": _Queue()}
        # On the event loop's clock. The database has it too, by its own.
        self._paused_until = -math.inf

    def is_short(self, kind: Kind) -> bool:
        """Whether requests of this kind wait for permits already, so that another poll would only stand behind them."""
        return self._queues[kind].waiting > 1

    def pause(self, seconds: float) -> None:
        """Ask nothing for so long; a pause that is longer already stays."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    async def learn(self) -> None:
        """Ask the database for a pause that we were not there to hear of. Raises psycopg.Error."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(QUERIES["budget_paused"], {"connection_id": self._connection_id})
            row = await cursor.fetchone()
        if row is not None:
            self.pause(row[0])

    async def enter(self) -> None:
        """Wait until a request may be made. Raises BankThrottled when that takes too long, and psycopg.Error."""
        queue = self._queues[KIND.get()]
        no_longer_than = asyncio.get_running_loop().time() + WAIT_SECONDS_MAX
        queue.waiting += 1
        try:
            while True:
                await self._wait_out_pause()
                if self._allowance is None:
                    return
                async with queue.turn:
                    wait_seconds = await self._take(queue, self._allowance)
                    if wait_seconds is None:
                        return
                    if asyncio.get_running_loop().time() + wait_seconds > no_longer_than:
                        raise BankThrottled("our own budget of requests is used up", timedelta(seconds=wait_seconds))
                    await asyncio.sleep(wait_seconds)
        finally:
            queue.waiting -= 1

    async def throttled(self, retry_after: timedelta | None) -> None:
        """The bank said 429: close the door here and for every other process. Raises nothing for a database that is
        away.
        """
        asked = None if retry_after is None else min(max(retry_after, RETRY_AFTER_MIN), RETRY_AFTER_MAX).total_seconds()
        self.pause(asked or pace.THROTTLED_SECONDS_MIN)
        parameters = {
            "connection_id": self._connection_id,
            "pause_seconds": asked,
            "throttled_min": pace.THROTTLED_SECONDS_MIN,
            "throttled_max": pace.THROTTLED_SECONDS_MAX,
            "memory_seconds": pace.THROTTLED_MEMORY_SECONDS,
        }
        try:
            async with self._pool.connection() as connection:
                row = await (await connection.execute(QUERIES["budget_pause"], parameters)).fetchone()
        except psycopg.Error as error:
            log.warning("other processes were not told of a pause", error=type(error).__name__)
            return
        if row is not None:
            self.pause(row[0])
            log.warning("the bank asked for a pause", seconds=round(row[0], 1))

    async def _wait_out_pause(self) -> None:
        clock = asyncio.get_running_loop().time
        while (left := self._paused_until - clock()) > 0:
            if left > PAUSE_WAITED_SECONDS_MAX:
                raise BankThrottled("the bank asked for a pause", timedelta(seconds=left))
            await asyncio.sleep(left)

    async def _take(self, queue: _Queue, allowance: pace.Allowance) -> float | None:
        """Take a permit; the seconds to wait for the next look when there is none."""
        clock = asyncio.get_running_loop().time
        if queue.permits == 0 or clock() > queue.permits_until:
            reserved = queue is self._queues["listings"]
            parameters = {
                "connection_id": self._connection_id,
                "reserved": reserved,
                "wanted": allowance.permits_at_once(reserved=reserved),
                **allowance._asdict(),
            }
            async with (
                self._pool.connection() as connection,
                connection.cursor(row_factory=class_row(_Taken)) as cursor,
            ):
                await cursor.execute(QUERIES["budget_take"], parameters)
                taken = await cursor.fetchone()
            if taken is None:  # Nobody has introduced the connection: there is nothing to share.
                return None
            if taken.paused_seconds > 0:
                self.pause(taken.paused_seconds)
                return 0.0
            queue.permits, queue.permits_until = taken.permits, clock() + pace.PERMIT_SECONDS
            if taken.permits == 0:
                return max(taken.wait_seconds, 0.01)
        queue.permits -= 1
        return None
