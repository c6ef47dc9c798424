"""Many streams on few connections: they take turns, and the last thing that is looked at is the right to be told."""

import asyncio
from contextlib import aclosing
from typing import Any, LiteralString

from kernel.caller import ANONYMOUS
from kernel.database import READER, Pool, make_pool
from kernel.errors import Unauthenticated
from readapi.changes import BEGINNING, Feed
from readapi.cursors import Cursors
from readapi.news import Watch
from readapi.reader import Parameters, Reader
from readapi.stream import ASKING_MAX, Stream
from tests.integration.readapi.mirror import Mirror
from tests.waiting import PATIENCE

STREAMS = 20


class Counter:
    """How many ask now, and how many did at the same time at most."""

    now = most = 0


class CountedReader(Reader):
    """Asks, and is counted while it does."""

    def __init__(self, pool: Pool, counter: Counter) -> None:
        super().__init__(pool, ANONYMOUS)
        self.counter = counter

    async def row(self, query: LiteralString, parameters: Parameters, *, plan_once: bool = False) -> tuple[Any, ...]:
        """See `Reader`."""
        self.counter.now += 1
        self.counter.most = max(self.counter.most, self.counter.now)
        try:
            return await super().row(query, parameters, plan_once=plan_once)
        finally:
            self.counter.now -= 1


def feed_of(pool: Pool, counter: Counter) -> Feed:
    """All changes."""
    return Feed(CountedReader(pool, counter), Cursors(b"k" * 32), None)


async def test_one_message_wakes_all_and_they_ask_in_turns(filled: Mirror) -> None:
    """Whether for a page or whether a moment is closed: the other connections are for those who wait for an answer."""

    async def check() -> None:
        pass

    counter = Counter()
    asking = asyncio.Semaphore(ASKING_MAX)
    watches = [Watch(None) for _ in range(STREAMS)]
    async with make_pool(filled.url, READER, max_size=4, autocommit=True) as pool, asyncio.timeout(PATIENCE):
        feed = feed_of(pool, counter)
        page = await feed.page(BEGINNING, 10)
        opened = [Stream(feed_of(pool, counter), watch, asking, 10, check).events(page) for watch in watches]
        for events in opened:
            assert (await anext(events)).startswith(b"retry")
            assert b"event: freshness" in await anext(events)
        waiting = [asyncio.create_task(anext(events)) for events in opened]
        filled.transaction("acct_a", transaction_id="tx_1")
        filled.run("SELECT sync.move_clock()")
        for watch in watches:
            watch.add(None)
        told = await asyncio.gather(*waiting)
        for events in opened:
            await events.aclose()

    assert all(b"event: changes" in event and b"tx_1" in event for event in told)
    assert counter.most == ASKING_MAX


async def test_what_is_revoked_while_it_waits_for_its_turn_is_told_nothing(filled: Mirror) -> None:
    """However long the turn takes: the token is looked at when the page is there."""
    is_good = True

    async def check() -> None:
        if not is_good:
            raise Unauthenticated

    for transaction_id in ("tx_1", "tx_2"):
        filled.transaction("acct_a", transaction_id=transaction_id)
    filled.run("SELECT sync.move_clock()")
    turn = asyncio.Semaphore(1)
    async with make_pool(filled.url, READER, max_size=1, autocommit=True) as pool, asyncio.timeout(PATIENCE):
        feed = feed_of(pool, Counter())
        async with aclosing(Stream(feed, Watch(None), turn, 1, check).events(await feed.page(BEGINNING, 1))) as events:
            begun = [await anext(events) for _ in range(3)]
            async with turn:
                following = asyncio.create_task(anext(events))
                await asyncio.sleep(0)
                is_good = False
            last = await following

    assert b"event: changes" in begun[1]
    assert last.startswith(b"event: end")
    assert b"/problems/unauthenticated" in last
