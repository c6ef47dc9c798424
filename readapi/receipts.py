"""What was answered to whom, counted in memory and written down once a second, off the way of every request.

A receipt is never waited for and never fails an answer. What does not find room, because more is asked than may wait
or because the database is away for long, is counted as lost. A process that is killed takes its last second along.
"""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
import structlog

from kernel.caller import Caller
from kernel.database import RECEIPTS, Connection, conninfo
from readapi.store import QUERIES

log = structlog.get_logger()

# Seconds between two batches, and for the last one when the process ends.
FLUSH_SECONDS = 1.0
LAST_FLUSH_SECONDS = 2.0
# Distinct receipts that may wait, and the bytes of what was asked in them. A second of the busiest process has fewer.
WAITING_MAX = 10_000
WAITING_BYTES_MAX = 16 << 20

# token id, name, target, status, result hash, version
Key = tuple[str | None, str, bytes, int, bytes, str]


class Count:
    """How often the same was answered, and when, in seconds since 1970."""

    __slots__ = ("first_at", "last_at", "times")

    def __init__(self, at: float) -> None:
        self.times = 1
        self.first_at = self.last_at = at


class Batch(NamedTuple):
    """Receipts on their way: the same ones under the same number until they are known to be written."""

    number: int
    counts: dict[Key, Count]


class Receipts:
    """Receipts that wait to be written. Not thread-safe, and needs no lock: `note` does not await."""

    def __init__(
        self, database_url: str, *, keep_days: int, worker: str | None = None, waiting_max: int = WAITING_MAX
    ) -> None:
        self.lost = 0
        self.written = 0
        self.worker = worker or f"{os.getpid()}-{secrets.token_hex(4)}"
        self._conninfo = conninfo(database_url, RECEIPTS)
        self._keep_days = keep_days
        self._waiting: dict[Key, Count] = {}
        self._waiting_max = waiting_max
        # Of all that waits, also of the batch that is on its way.
        self._bytes = 0
        self._numbers = 0
        self._batch: Batch | None = None
        self._connection: Connection | None = None
        self._is_away = False
        self._is_errand_done = True
        # What else is told on the same occasion, by the same role: how much tokens have used.
        self.errand: Callable[[Connection], Awaitable[None]] | None = None

    @property
    def waiting(self) -> int:
        """Distinct receipts in memory."""
        return len(self._waiting) + (len(self._batch.counts) if self._batch else 0)

    def note(self, caller: Caller, target: bytes, status: int, result_hash: bytes, version: str, at: float) -> None:
        """Note an answer; `at` in seconds since 1970."""
        key = (caller.token_id, caller.name, target, status, result_hash, version)
        count = self._waiting.get(key)
        if count is not None:
            count.times += 1
            count.last_at = at
        elif self.waiting >= self._waiting_max or self._bytes + len(target) > WAITING_BYTES_MAX:
            self.lost += 1
        else:
            self._waiting[key] = Count(at)
            self._bytes += len(target)

    async def run(self) -> None:
        """Write them down, until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                await self.flush()
        finally:
            try:
                async with asyncio.timeout(LAST_FLUSH_SECONDS):
                    # What was on its way goes first, under its number; then what came since.
                    await self.flush()
                    await self.flush()
            except TimeoutError:
                log.warning("receipts were not written before the end", receipts=self.waiting)
            await self.close()

    async def flush(self) -> None:
        """Write what waits; what cannot be written goes on waiting. Raises nothing but cancellation."""
        if self._batch is None and self._waiting:
            self._numbers += 1
            self._batch, self._waiting = Batch(self._numbers, self._waiting), {}
            self._is_errand_done = self.errand is None
        try:
            if self._batch is not None:
                await self._attempt(self._hand_over)
            if not self._is_errand_done:
                # Whatever became of the receipts: limits hold by it.
                await self._attempt(self._run_errand)
        except BaseException:
            # Stopped in the middle of a statement, of which nobody knows whether it took effect.
            await self.close()
            raise

    async def _attempt(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        """Do it on the connection; where that or the database is away, it is for the next time."""
        try:
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            await work(self._connection)
        except psycopg.Error as error:
            await self.close()
            if not self._is_away:
                log.warning("receipts wait for the database", error=type(error).__name__, receipts=self.waiting)
            self._is_away = True
        else:
            self._is_away = False

    async def _hand_over(self, connection: Connection) -> None:
        batch = self._batch
        assert batch is not None, "there is something to hand over"
        count = sum(count.times for count in batch.counts.values())
        try:
            await self._write(connection, batch)
        except psycopg.errors.QueryCanceled:
            if len(batch.counts) == 1:
                raise
            log.warning("receipts took too long, fewer are tried", receipts=len(batch.counts))
            self._halve(batch)
            return
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except Exception as error:
            # The same again would be refused again, and nothing behind it would ever be written.
            log.error("receipts were refused and are lost", receipts=count, error=type(error).__name__)
            self.lost += count
        else:
            self.written += count
        self._batch = None
        self._bytes -= sum(len(key[2]) for key in batch.counts)

    def _halve(self, batch: Batch) -> None:
        """Have the later half wait again, before what came since. The number was not used: the server rolled back."""
        counts = list(batch.counts.items())
        self._batch = Batch(batch.number, dict(counts[: len(counts) // 2]))
        waiting = dict(counts[len(counts) // 2 :])
        for key, count in self._waiting.items():
            before = waiting.setdefault(key, count)
            if before is not count:
                before.times += count.times
                before.last_at = count.last_at
                self._bytes -= len(key[2])
        self._waiting = waiting

    async def _run_errand(self, connection: Connection) -> None:
        assert self.errand is not None, "there is an errand to run"
        await self.errand(connection)
        self._is_errand_done = True

    async def _write(self, connection: Connection, batch: Batch) -> None:
        noted = batch.counts.items()

        def column(read: Callable[[Key, Count], Any]) -> list[Any]:
            return [read(key, count) for key, count in noted]

        await connection.execute(
            QUERIES["reads_note"],
            {
                "worker": self.worker,
                "batch": batch.number,
                "keep_days": self._keep_days,
                "token_ids": column(lambda key, _: key[0]),
                "callers": column(lambda key, _: key[1]),
                # Percent-encoded where it is not ASCII, by any client that goes by the letter.
                "targets": column(lambda key, _: key[2].decode("latin-1").replace("\0", "\ufffd")),
                "statuses": column(lambda key, _: key[3]),
                "results": column(lambda key, _: key[4]),
                "versions": column(lambda key, _: key[5]),
                "first_ats": column(lambda _, count: datetime.fromtimestamp(count.first_at, UTC)),
                "last_ats": column(lambda _, count: datetime.fromtimestamp(count.last_at, UTC)),
                "counts": column(lambda _, count: count.times),
            },
        )

    async def close(self) -> None:
        """Hang up. What waits goes on waiting, and the next flush connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
