"""Do many small things together.

A transfer appends to the audit chain, whose head is one row: its lock is held until the commit is on disk, so writers
that commit alone queue behind each other's disk flush. While one commit is under way, the writes that arrive wait and
share the next one. Look-ups of tokens do the same: however many callers there are, they take one connection for them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import psycopg

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batch(Generic[Item, Result]):
    """`write(items)` is called with what has gathered, once at a time, and answers item by item."""

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], size_max: int = 64) -> None:
        self._write = write
        self._size_max = size_max
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._writer: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Items that wait; those that are being written do not."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Result:
        """Have one item written. Raises what writing it raised.

        A caller that is cancelled does not take its item back: it may be on its way to the disk already.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._writer is None:
            self._writer = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._size_max]
                del self._waiting[: self._size_max]
                await self._settle(batch)
        finally:
            self._writer = None
            for _, future in self._waiting:
                future.cancel()

    async def _settle(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except (psycopg.IntegrityError, psycopg.DataError, psycopg.errors.LockNotAvailable) as error:
            # One bad item undoes its whole batch. Alone, each one fails or succeeds for itself.
            if len(batch) > 1:
                for entry in batch:
                    await self._settle([entry])
            else:
                _fail(batch, error)
        except BaseException as error:
            _fail(batch, error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(batch: Sequence[tuple[Item, asyncio.Future[Result]]], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error) if isinstance(error, Exception) else future.cancel()
