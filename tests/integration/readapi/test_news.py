"""The listening connection: what it hears, whom it tells, and that silence is only trusted while it is proved alive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from readapi import news as news_module
from readapi.news import News, view_topic
from tests.conftest import Connect
from tests.integration.readapi.mirror import Mirror
from tests.waiting import PATIENCE, until

LISTENER = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'bankmirror readapi' AND datname = current_database()"
)


class Ear:
    """News with a subscriber that remembers."""

    def __init__(self, url: str) -> None:
        self.news = News(url)
        self.heard: list[frozenset[str] | None] = []
        self.tokens: list[str | None] = []
        self.news.subscribe(self.heard.append)
        self.news.subscribe_tokens(self.tokens.append)

    @property
    def is_trusted(self) -> bool:
        return self.news.trusted_until > asyncio.get_running_loop().time()

    async def has(self, seen: list[Any], told: object) -> None:
        """Wait until something was told."""

        async def is_there() -> bool:
            return told in seen

        await until(is_there, pause=0.01)

    async def trusts(self) -> None:
        """Wait until silence is trusted."""

        async def trusted() -> bool:
            return self.is_trusted

        await until(trusted, pause=0.01)


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Ear]:
    """An ear that listens, once it is trusted."""
    ear = Ear(url)
    task = asyncio.create_task(ear.news.run())
    try:
        await ear.trusts()
        yield ear
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def ear(database_url: str) -> AsyncIterator[Ear]:
    """See `Ear`."""
    async with listening(database_url) as listener:
        yield listener


@pytest.mark.parametrize(
    ("channel", "payload", "told"),
    [
        ("bankmirror_changed", '{"accounts": ["a", "b"], "run_id": 7}', frozenset({"a", "b"})),
        ("bankmirror_changed", '{"accounts": null}', None),
        ("bankmirror_changed", '{"view": "daily_cash_flow"}', frozenset({view_topic("daily_cash_flow")})),
        ("bankmirror_moved", '{"accounts": ["a"]}', frozenset({"a"})),
        ("bankmirror_changed", "no JSON", None),
        ("bankmirror_changed", '{"accounts": [1]}', None),
        ("bankmirror_changed", "[" * 1000, None),
        ("bankmirror_moved", "", None),
    ],
)
async def test_what_is_heard_is_told(
    channel: str, payload: str, told: frozenset[str] | None, ear: Ear, mirror: Mirror
) -> None:
    """With the accounts that it names; a message that cannot be read is about all."""
    ear.heard.clear()

    mirror.run("SELECT pg_notify(%s, %s)", channel, payload)

    await ear.has(ear.heard, told)
    assert ear.heard == [told]


async def test_a_confirmation_wakes_and_drops_nothing(ear: Ear, mirror: Mirror) -> None:
    """Who waits for a poll of the account goes on, who waits for another does not; answers stay true."""
    ear.heard.clear()
    waiting = [asyncio.create_task(ear.news.wait(frozenset({name}), PATIENCE)) for name in ("a", "b")]
    await asyncio.sleep(0)

    mirror.run("""SELECT pg_notify('bankmirror_confirmed', '{"accounts": ["a"]}')""")
    assert await waiting[0]
    assert not waiting[1].done()
    mirror.run("""SELECT pg_notify('bankmirror_confirmed', '{"accounts": null}')""")
    assert await waiting[1]

    assert ear.heard == []
    assert not await ear.news.wait(frozenset({"a"}), 0.0), "what was heard before is no news"


async def test_a_watch_hears_what_came_before_it_was_asked(ear: Ear, mirror: Mirror) -> None:
    """Between a question and the wait for something newer nothing is lost; what was forgotten is."""
    with (
        ear.news.watch(frozenset({"a"})) as watch,
        ear.news.watch(frozenset({"b"})) as other,
        ear.news.watch(None) as any_,
    ):
        mirror.run("""SELECT pg_notify('bankmirror_changed', '{"accounts": ["a"]}')""")
        await ear.has(ear.heard, frozenset({"a"}))

        assert await watch.heard(0.0)
        assert await any_.heard(0.0)
        assert not await other.heard(0.0), "what is about others wakes nobody"
        watch.forget()
        assert not await watch.heard(0.0)


async def test_tokens_are_told_to_those_who_keep_tokens(ear: Ear, mirror: Mirror) -> None:
    """Made, changed and deleted, each by its id; answers are not dropped for it."""
    ear.heard.clear()
    ear.tokens.clear()
    mirror.run(
        "INSERT INTO access.tokens (token_id, name, principal, environment, digest, scopes)"
        " VALUES ('abcdefgh', 'test', 'abcdefgh', 'test', sha256('x'), '{read}')"
    )
    await ear.has(ear.tokens, "abcdefgh")
    ear.tokens.clear()
    mirror.run("UPDATE access.tokens SET revoked_at = now()")
    await ear.has(ear.tokens, "abcdefgh")
    ear.tokens.clear()
    mirror.run("DELETE FROM access.tokens")
    await ear.has(ear.tokens, "abcdefgh")

    assert ear.heard == []


async def test_what_comes_with_a_heartbeat_is_heard(ear: Ear, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that arrive while the heartbeat's answer is awaited, and not in between, are none the less told."""
    # No time between two heartbeats: nearly everything arrives during one.
    monkeypatch.setattr(news_module, "HEARTBEAT_SECONDS", 0.0)
    for number in range(300):
        mirror.run("SELECT pg_notify('bankmirror_changed', %s)", f'{{"accounts": ["{number}"]}}')
        if number % 20 == 0:
            await asyncio.sleep(0)
    await ear.has(ear.heard, frozenset({"299"}))

    told = [subjects for subjects in ear.heard if subjects is not None]
    assert told == [frozenset({str(number)}) for number in range(300)]


async def test_a_lost_connection_is_told_at_once_and_when_it_is_back(ear: Ear, connect: Connect) -> None:
    """Nobody knows what was missed: all of it is told twice, and in between nothing is trusted."""
    ear.heard.clear()
    ear.tokens.clear()
    owner = await connect()
    ((lost,),) = await (await owner.execute(LISTENER)).fetchall()

    trusted: list[bool] = []
    ear.news.subscribe(lambda _: trusted.append(ear.is_trusted))
    await owner.execute("SELECT pg_terminate_backend(%s)", [lost])

    async def told_twice() -> bool:
        return ear.heard == [None, None]

    await until(told_twice, pause=0.01)
    await ear.trusts()
    assert trusted == [False, False], "and it is trusted only after all were told"
    assert ear.tokens == [None, None]
    ((pid,),) = await (await owner.execute(LISTENER)).fetchall()
    assert pid != lost


async def test_silence_is_not_trusted_when_the_server_does_not_answer(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is open and says nothing any more is given up; until then, trust ends by itself."""
    ear = Ear(database_url)
    beats = 0

    async def beat(connection: psycopg.AsyncConnection[Any]) -> None:
        nonlocal beats
        beats += 1
        async with asyncio.timeout(0.1):
            await connection.execute("SELECT 1" if beats == 1 else "SELECT pg_sleep(60)")

    monkeypatch.setattr(ear.news, "_beat", beat)
    monkeypatch.setattr(news_module, "HEARTBEAT_SECONDS", 0.01)
    task = asyncio.create_task(ear.news.run())

    async def lost() -> bool:
        # Told as it began to listen, and as it gave up.
        return len(ear.heard) >= 2

    try:
        await ear.trusts()
        ahead = ear.news.trusted_until - asyncio.get_running_loop().time()
        await until(lost, pause=0.01)
        assert ahead <= news_module.TRUST_SECONDS
        assert not ear.is_trusted
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_subscriber_that_fails_ends_the_trust(ear: Ear, mirror: Mirror) -> None:
    """It may keep what it was told to drop. All are told again, and the others were told anyway."""
    failures: list[int] = []

    def fail_once(_: frozenset[str] | None) -> None:
        if not failures:
            failures.append(1)
            raise RuntimeError

    ear.news.subscribe(fail_once)
    ear.heard.clear()
    mirror.run("""SELECT pg_notify('bankmirror_changed', '{"accounts": ["a"]}')""")

    async def told_again() -> bool:
        return ear.heard == [frozenset({"a"}), None, None]

    await until(told_again, pause=0.01)
    await ear.trusts()


async def test_without_a_database_nothing_is_trusted() -> None:
    """And nothing ends: it goes on trying, and stops when asked to."""
    ear = Ear("postgresql://nobody@127.0.0.1:1/none")
    task = asyncio.create_task(ear.news.run())
    assert not await ear.news.wait(None, 0.2)
    assert not ear.is_trusted
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
