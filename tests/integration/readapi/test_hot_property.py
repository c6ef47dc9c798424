"""Whatever happens in whatever order, over several processes: no answer is older than it says, and none is from before
a change that its process has heard of.

Each account's name is its version, so an answer shows which state of the mirror it is from. What an answer says of its
age is `synced_at` in its body, `Age` in its header, and, for a copy that is confirmed with 304, the `synced_at` there.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from readapi.hot import Hot
from tests.integration.readapi.kept import Kept, keeping
from tests.integration.readapi.mirror import Mirror
from tests.integration.readapi.test_hot_path import TERMINATE
from tests.waiting import until

ACCOUNTS = ("acct_0", "acct_1")
PROCESSES = 3
LIST = "/banking/accounts"

account = st.sampled_from(ACCOUNTS)
process = st.integers(0, PROCESSES - 1)
path = st.sampled_from([LIST, *(f"{LIST}/{account_id}" for account_id in ACCOUNTS)])
heard = st.booleans()
step = st.one_of(
    st.tuples(st.just("commit"), account, heard),
    st.tuples(st.just("confirm")),
    st.tuples(st.just("read"), process, path, st.booleans()),
    st.tuples(st.just("read"), process, path, st.booleans()),
    st.tuples(st.just("race"), process, path, account),
    st.tuples(st.just("cut")),
)


@dataclass
class World:
    """A mirror, processes that read it, and what can be known of both."""

    mirror: Mirror
    kept: list[Kept]
    # By account: the version in the mirror, and by version when it had ended for certain, by the database's clock.
    version: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, 0))
    ended: dict[tuple[str, int], datetime] = field(default_factory=dict)
    # By process and account: the version that the process must know of; and by process and path what a client has.
    known: dict[tuple[int, str], int] = field(default_factory=dict)
    copies: dict[tuple[int, str], httpx.Response] = field(default_factory=dict)

    async def commit(self, account_id: str, is_awaited: bool = True) -> None:
        """Another version, confirmed with it. Whoever need not wait for the processes to hear does not."""
        before = [len(kept.told) for kept in self.kept]
        old = self.version[account_id]
        self.version[account_id] = old + 1
        now = await asyncio.to_thread(self._write, account_id, f"v{old + 1}")
        self.ended[account_id, old] = now
        after = [len(kept.told) for kept in self.kept]
        if is_awaited:
            for number, kept in enumerate(self.kept):
                await self._heard(kept, f"{account_id} v{old + 1}", before[number], after[number])
                self.known[number, account_id] = old + 1

    async def confirm(self) -> None:
        """A poll that found nothing new."""
        await asyncio.to_thread(self._write, None, "")

    async def cut(self) -> None:
        """Every connection of every process is lost."""
        before = [len(kept.told) for kept in self.kept]
        versions = dict(self.version)
        await asyncio.to_thread(self.mirror.run, TERMINATE, urlsplit(self.mirror.url).path[1:])
        for number, kept in enumerate(self.kept):
            await self._heard(kept, "", before[number], before[number])
            self.known |= {(number, account_id): version for account_id, version in versions.items()}

    async def race(self, number: int, path: str, account_id: str) -> None:
        """A change between an answer's question and its end."""
        kept = self.kept[number]
        kept.may_answer.clear()
        reading = asyncio.create_task(self.read(number, path))
        waiting = asyncio.create_task(kept.waiting.acquire())
        await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        await self.commit(account_id)
        kept.may_answer.set()
        await reading
        # It did not wait there when the answer was in memory.
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await self.read(number, path)

    async def read(self, number: int, path: str, is_conditional: bool = False) -> None:
        """Ask, and hold the answer against all that is known."""
        known = {account_id: self.known.get((number, account_id), 0) for account_id in ACCOUNTS}
        asked_at = await asyncio.to_thread(self._now)
        copy = self.copies.get((number, path))
        sent = {"if_none_match": copy.headers["etag"]} if is_conditional and copy else {}
        answer = await self.kept[number].get(path, **sent)
        if answer.status_code == 503:
            return
        said = datetime.fromisoformat(answer.headers["bankmirror-synced-at"])
        if answer.status_code == 304:
            assert copy is not None
            content = copy.json()
        else:
            self.copies[number, path] = answer
            content = answer.json()
            assert said == datetime.fromisoformat(content["freshness"]["synced_at"])
        # Age counts whole seconds.
        aged = asked_at - timedelta(seconds=int(answer.headers["age"]) + 1)
        for account_id, version in _versions(content["data"]):
            assert known[account_id] <= version <= self.version[account_id], "from before a change that was heard of"
            ended = self.ended.get((account_id, version))
            if ended is not None:
                assert said <= ended, "older than its synced_at says"
                assert aged <= ended, "older than its Age says"

    async def _heard(self, kept: Kept, change: str, before: int, after: int) -> None:
        """Wait until a process was told of the change, or that it may have missed anything, which is said of what was
        before: only where it is said `after` the commit is this commit meant.
        """

        async def is_told() -> bool:
            return None in kept.told[after:] or any(told and change in told for told in kept.told[before:])

        await until(is_told, pause=0.002)

    def _write(self, account_id: str | None, name: str) -> datetime:
        with psycopg.connect(self.mirror.url) as writer:
            writer.execute(
                "UPDATE sync.targets SET synced_at = clock_timestamp(), fresh_until = clock_timestamp() + '1 minute'"
            )
            # Who lists them confirms them all.
            writer.execute("UPDATE snapshot.accounts SET last_seen_at = clock_timestamp()")
            writer.execute("UPDATE snapshot.balances SET synced_at = clock_timestamp()")
            if account_id is not None:
                writer.execute("UPDATE snapshot.accounts SET name = %s WHERE account_id = %s", [name, account_id])
            channel = "bankmirror_confirmed" if account_id is None else "bankmirror_changed"
            # The second is no account, but tells this change from all others.
            told = json.dumps({"accounts": account_id and [account_id, f"{account_id} {name}"]})
            writer.execute("SELECT pg_notify(%s, %s)", [channel, told])
        return self._now()

    def _now(self) -> datetime:
        ((now,),) = self.mirror.run("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now


def _versions(data: Any) -> list[tuple[str, int]]:
    accounts = data if isinstance(data, list) else [data]
    return [(item["account_id"], int(item["name"].removeprefix("v"))) for item in accounts]


def run_with(mirror: Mirror, drive: Callable[[asyncio.Runner, World], None]) -> None:
    """Drive several processes on one event loop."""
    for account_id in ACCOUNTS:
        mirror.balance(mirror.account(account_id, name="v0"))
    mirror.feeds()

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> World:
            kept = [await stack.enter_async_context(keeping(mirror.url)) for _ in range(PROCESSES)]
            return World(mirror, kept)

        world = runner.run(start())
        try:
            drive(runner, world)
        finally:
            runner.run(stack.aclose())


@pytest.mark.seconds(240)
def test_no_answer_is_older_than_it_says(mirror: Mirror) -> None:
    """Commits that are heard and commits that are not yet, confirmations, races, lost connections, copies that are
    confirmed: in any order.
    """

    def drive(runner: asyncio.Runner, world: World) -> None:
        async def take(steps: list[tuple[Any, ...]]) -> None:
            for name, *arguments in steps:
                await getattr(world, name)(*arguments)

        @hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(st.lists(step, min_size=3, max_size=12))
        def hold(steps: list[tuple[Any, ...]]) -> None:
            runner.run(take(steps))

        hold()
        assert sum(kept.hot.hits for kept in world.kept) > 0

    run_with(mirror, drive)


def test_who_does_not_forget_is_found_out(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: processes that hear, and keep their answers all the same."""
    monkeypatch.setattr(Hot, "invalidate", lambda hot, _: setattr(hot, "invalidations", hot.invalidations + 1))

    def drive(runner: asyncio.Runner, world: World) -> None:
        runner.run(world.read(0, LIST))
        runner.run(world.commit("acct_0"))
        with pytest.raises(AssertionError, match="heard of"):
            runner.run(world.read(0, LIST))

    run_with(mirror, drive)


def test_a_copy_that_is_confirmed_wrongly_is_found_out(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a copy from before a change is called unchanged, with the time of another answer."""
    monkeypatch.setattr("readapi.edge.is_unchanged", lambda *_: True)

    def drive(runner: asyncio.Runner, world: World) -> None:
        runner.run(world.read(0, LIST))
        runner.run(world.commit("acct_0"))
        runner.run(world.confirm())
        world.known.clear()
        with pytest.raises(AssertionError, match="than its synced_at says"):
            runner.run(world.read(0, LIST, is_conditional=True))

    run_with(mirror, drive)
