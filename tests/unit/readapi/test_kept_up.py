"""What runs beside the answers goes on, whatever breaks in it."""

import asyncio

import pytest

from readapi import app
from readapi.demand import Demand


async def test_what_breaks_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by an error that nobody has foreseen, and when it ends by itself; only a cancellation ends it."""
    monkeypatch.setattr(app, "BROKEN_SECONDS", 0.0)
    begun = 0
    lasting = asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise ZeroDivisionError
        if begun > 2:
            lasting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(app.kept_up(work))
    await lasting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert begun == 3


async def test_demand_breaks_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken up again it must not run beside a half of itself that was left over."""
    ended = asyncio.Event()

    async def broken(_: Demand) -> None:
        raise ZeroDivisionError

    async def lasting(_: Demand) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(Demand, "_tell_read", lasting)
    monkeypatch.setattr(Demand, "_tell_hastened", broken)
    with pytest.raises(ExceptionGroup):
        await Demand(None).tell()  # type: ignore[arg-type]

    assert ended.is_set()
