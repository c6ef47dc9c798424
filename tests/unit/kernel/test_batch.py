"""Writes that arrive together are committed together, and each gets its own answer."""

import asyncio
from collections.abc import Sequence

import psycopg
import pytest

from kernel.batch import Batch


async def test_what_arrives_during_a_write_shares_the_next_one() -> None:
    """The first goes at once; the rest gather behind it."""
    written: list[list[int]] = []

    async def write(items: Sequence[int]) -> list[int]:
        written.append(list(items))
        await asyncio.sleep(0.01)
        return [item * 10 for item in items]

    batch = Batch(write, size_max=3)
    results = await asyncio.gather(*(batch.submit(number) for number in range(6)))
    results.append(await batch.submit(6))

    assert results == [0, 10, 20, 30, 40, 50, 60]
    assert written == [[0, 1, 2], [3, 4, 5], [6]]


async def test_one_bad_item_does_not_take_the_others_with_it() -> None:
    """Its batch is undone as a whole, so each is written again alone."""

    async def write(items: Sequence[int]) -> list[int]:
        if 2 in items:
            raise psycopg.errors.UniqueViolation("two")
        return list(items)

    batch = Batch(write)
    results = await asyncio.gather(*(batch.submit(number) for number in range(4)), return_exceptions=True)

    assert results[0] == 0
    assert results[1] == 1
    assert isinstance(results[2], psycopg.errors.UniqueViolation)
    assert results[3] == 3


async def test_a_lost_connection_is_told_to_everyone_and_nothing_is_written_twice() -> None:
    """Nobody knows whether it was committed: writing again would be a guess."""
    calls = 0

    async def write(items: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        raise psycopg.OperationalError("gone")

    batch = Batch(write)
    results = await asyncio.gather(*(batch.submit(number) for number in range(4)), return_exceptions=True)

    assert [type(result) for result in results] == [psycopg.OperationalError] * 4
    assert calls == 1


async def test_a_caller_that_leaves_does_not_stop_the_others() -> None:
    """A client hangs up; its transfer is recorded all the same, and its neighbours are answered."""
    written: list[int] = []

    async def write(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0.01)
        written.extend(items)
        return list(items)

    batch = Batch(write)
    leaving = asyncio.create_task(batch.submit(1))
    staying = asyncio.create_task(batch.submit(2))
    await asyncio.sleep(0)
    leaving.cancel()

    assert await staying == 2
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert written == [1, 2]
