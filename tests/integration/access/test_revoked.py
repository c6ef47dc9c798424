"""A token that is over is refused within seconds, whatever is kept and whoever was not told."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql

from kernel import tokens
from kernel.passes import TRUST_SECONDS
from readapi.access import RENEW_SECONDS
from readapi.app import create_app
from readapi.edge import Edge
from readapi.news import ACCESS_CHANNEL
from tests.conftest import Administrator
from tests.integration.access.giving import Given, give, revoke, rotate
from tests.integration.readapi.kept import Kept
from tests.integration.readapi.mirror import Mirror, running, settings
from tests.waiting import PATIENCE, until

URL = "/banking/accounts"


@pytest.fixture
def mirror(database_url: str) -> Iterator[Mirror]:
    """One account, fresh."""
    mirror = Mirror(database_url)
    mirror.feeds()
    mirror.account("acct_1")
    yield mirror
    mirror.close()


@asynccontextmanager
async def served(mirror: Mirror) -> AsyncIterator[tuple[Edge, httpx.AsyncClient]]:
    """The read API with tokens only, and a client of it."""
    app = create_app(settings(mirror.url, mode="sandbox", api_token="s" * 40))
    async with running(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://mirror") as client:
            yield app, client


async def is_kept(app: Edge, client: httpx.AsyncClient, given: Given) -> bool:
    """Whether an answer came from memory."""
    before = app.hot.hits
    assert (await client.get(URL, headers=given.headers)).status_code == 200
    return app.hot.hits > before


async def refused_after(client: httpx.AsyncClient, given: Given) -> float:
    """Seconds until the token is refused, while it is used all the time."""
    began = time.monotonic()

    async def is_refused() -> bool:
        return (await client.get(URL, headers=given.headers)).status_code == 401

    await until(is_refused)
    return time.monotonic() - began


async def test_at_once_when_told(mirror: Mirror) -> None:
    """Also where the answer is kept in memory: the notification comes with the commit."""
    async with served(mirror) as (app, client):
        given, other = await give(mirror.url), await give(mirror.url)
        for one in (given, other):
            await until(partial(is_kept, app, client, one))

        await revoke(mirror.url, given)

        assert await refused_after(client, given) < TRUST_SECONDS
        assert (await client.get(URL, headers=other.headers)).status_code == 200


@pytest.mark.parametrize("renews", [True, False])
async def test_within_seconds_when_nobody_told(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, *, renews: bool
) -> None:
    """The notification is lost: the trigger that sends it is off. What was looked up is trusted for seconds only, also
    where it is not looked up again meanwhile.
    """

    async def renew() -> None:
        """Look nothing up."""

    async with served(mirror) as (app, client):
        if not renews:
            monkeypatch.setattr(app.access, "renew", renew)
        given = await give(mirror.url)
        await until(partial(is_kept, app, client, given))
        mirror.run("ALTER TABLE access.tokens DISABLE TRIGGER tell_change")
        async with await psycopg.AsyncConnection.connect(mirror.url, autocommit=True) as listener:
            await listener.execute(f"LISTEN {ACCESS_CHANNEL}".encode())
            await revoke(mirror.url, given)

            # Looking it up takes a while on a busy machine; the answer counts from when it was asked for.
            assert await refused_after(client, given) < TRUST_SECONDS + RENEW_SECONDS
            # Messages come in order: before this one there was none.
            mirror.run(f"NOTIFY {ACCESS_CHANNEL}, 'the first'")
            heard = [notice.payload async for notice in listener.notifies(timeout=PATIENCE, stop_after=1)]
        assert heard == ["the first"]


async def test_a_wait_outlasts_no_token(mirror: Mirror) -> None:
    """Three wait for one answer. Who is not let in any more when it is there does not get it, neither who asked for it
    nor who joined; and it is not lost for the third.
    """
    async with served(mirror) as (app, client):
        gone, joined, other = [await give(mirror.url) for _ in range(3)]
        kept = Kept(app, client)
        await kept.hears()
        kept.may_answer.clear()
        waiting = [asyncio.create_task(client.get(URL, headers=gone.headers))]
        await kept.waiting.acquire()
        waiting += [asyncio.create_task(client.get(URL, headers=one.headers)) for one in (joined, other)]

        async def are_let_in() -> bool:
            return all(one.token.token_id in app.access.passes for one in (gone, joined, other))

        async def are_over() -> bool:
            return not any(app.access.passes[one.token.token_id].is_good() for one in (gone, joined))

        await until(are_let_in)
        for one in (gone, joined):
            await revoke(mirror.url, one)
        await until(are_over)
        kept.may_answer.set()
        answers = await asyncio.gather(*waiting)

    assert [answer.status_code for answer in answers] == [401, 401, 200]
    assert [answer.json()["type"] for answer in answers[:2]] == ["/problems/unauthenticated"] * 2
    assert (kept.asked, app.hot.joins) == (1, 1)


async def test_without_the_database_nothing_is_open(mirror: Mirror, administrator: Administrator) -> None:
    """A known token is good for seconds more, and then it is a 503; an unknown one is one from the beginning."""
    async with served(mirror) as (app, client):
        given, unseen = await give(mirror.url), await give(mirror.url)
        await until(partial(is_kept, app, client, given))
        name = sql.Identifier(urlsplit(mirror.url).path[1:])
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        administrator.execute(allow.format(name, sql.SQL("false")))
        mirror.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        async def is_away() -> bool:
            answer = await client.get(URL, headers=given.headers)
            assert answer.status_code in (200, 503)
            return answer.status_code == 503

        await until(is_away)
        assert (await client.get(URL, headers=unseen.headers)).status_code == 503
        assert (await client.get(URL, headers={"Authorization": "Bearer x"})).status_code == 401
        assert (await client.get(URL)).status_code == 401
        administrator.execute(allow.format(name, sql.SQL("true")))


async def test_expired_and_rotated(mirror: Mirror) -> None:
    """A token ends at its time by the clock of the database; one that was rotated goes on, beside the new one."""
    async with served(mirror) as (_, client):
        short = await give(mirror.url, lifetime=timedelta(seconds=1))
        old = await give(mirror.url, accounts=["acct_1"])
        new = await rotate(mirror.url, old)
        assert [(await client.get(URL, headers=one.headers)).status_code for one in (old, new)] == [200, 200]

        async def is_over() -> bool:
            return (await client.get(URL, headers=short.headers)).status_code == 401

        await until(is_over)
        ((ended,),) = mirror.run(
            "SELECT clock_timestamp() >= expires_at FROM access.tokens WHERE token_id = %s", short.token.token_id
        )
        assert ended


async def test_s1_every_refusal_is_the_same_on_the_wire(mirror: Mirror) -> None:
    """Status, headers and body; but for the id of the request."""
    async with served(mirror) as (_, client):
        good, gone = await give(mirror.url), await give(mirror.url)
        await revoke(mirror.url, gone)
        unknown = tokens.make("test").text
        sent: list[list[tuple[str, str]]] = [
            [],
            [("Authorization", "Bearer")],
            [("Authorization", f"Basic {good.token.text}")],
            [("Authorization", f"Bearer {good.token.text[:-1]}")],
            [("Authorization", f"Bearer {unknown}")],
            [("Authorization", f"Bearer {gone.token.text}")],
            [("Authorization", f"Bearer {good.token.text}"), ("Authorization", f"Bearer {good.token.text}")],
        ]
        answers = [await client.get(URL, headers=headers) for headers in sent]
        told = {
            json.dumps([
                answer.status_code,
                {**answer.json(), "instance": None},
                {name: value for name, value in answer.headers.items() if name != "request-id"},
            ])
            for answer in answers
        }  # fmt: skip

    assert len(told) == 1
    assert answers[0].status_code == 401
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert answers[0].json()["type"] == "/problems/unauthenticated"


async def test_s2_a_scope_that_is_missing_is_named(mirror: Mirror) -> None:
    """403, for all that is read; what says nothing about money is open."""
    async with served(mirror) as (_, client):
        payer = await give(mirror.url, "transfer:request")
        for path, scope in (
            (URL, "read"),
            ("/banking/sync", "read"),
            ("/banking/nowhere", "read"),
            ("/metrics", "admin"),
        ):
            answer = await client.get(path, headers=payer.headers)
            assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden"), path
            assert answer.json()["needs"] == scope
        assert (await client.get("/health", headers=payer.headers)).status_code == 200
        assert (await client.get("/nowhere", headers=payer.headers)).status_code == 404


async def test_limits_are_told_and_kept(mirror: Mirror) -> None:
    """In every answer, also one that is kept, and one that is refused; other tokens have theirs."""
    async with served(mirror) as (_, client):
        given, other = await give(mirror.url, requests_per_minute=3), await give(mirror.url)
        # A minute may end in between, once: of two rounds one lies within a minute.
        for _ in range(2):
            answers = [await client.get(URL, headers=given.headers) for _ in range(5)]
            if [answer.status_code for answer in answers].count(429) == 2:
                break
        assert {answer.status_code for answer in answers} == {200, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert refused.json()["type"] == "/problems/rate-limited"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        for answer in answers:
            assert answer.headers["ratelimit-policy"].startswith('"read";q=3;w=60, "bytes";q=')
            assert answer.headers["ratelimit"].startswith('"read";r=')
            assert len(answer.headers.get_list("ratelimit")) == 1
        assert (await client.get(URL, headers=other.headers)).status_code == 200


async def test_a_days_bytes(mirror: Mirror) -> None:
    """What was sent counts; when it is used up, the next question waits until tomorrow."""
    async with served(mirror) as (_, client):
        given = await give(mirror.url, bytes_per_day=100)
        first, second = [await client.get(URL, headers=given.headers) for _ in range(2)]

    assert first.status_code == 200
    assert (second.status_code, second.json()["detail"]) == (429, "this token may ask for 100 bytes a day")


async def test_what_one_process_used_the_others_know(mirror: Mirror) -> None:
    """Each tells the database what it counted, and learns what the others have; nothing is counted twice."""
    given = await give(mirror.url, bytes_per_day=10**9)
    async with served(mirror) as (one, client), served(mirror) as (other, another):
        one.receipts.errand = other.receipts.errand = None
        received = 0
        async with await psycopg.AsyncConnection.connect(mirror.url, autocommit=True) as connection:
            for app, asked in ((one, client), (other, another), (one, client), (other, another)):
                for _ in range(3):
                    received += len((await asked.get(URL, headers=given.headers)).content)
                await app.access.tell_use(connection)
                await app.access.tell_use(connection)
        budgets = [app.access.passes[given.token.token_id].budget for app in (one, other)]

    assert mirror.run("SELECT bytes FROM access.usage") == [(received,)]
    # Who told last knows of all; the other one learns of the rest when it tells again.
    first, last = (10**9 - budget.bytes.left for budget in budgets if budget is not None)
    assert first < last == received


class Lost:
    """A connection that is lost after a statement took effect, and before anybody heard of it."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def execute(self, *statement: Any) -> None:
        await self._connection.execute(*statement)
        raise psycopg.OperationalError("the connection is lost")


async def test_use_that_was_told_in_doubt_counts_once(mirror: Mirror) -> None:
    """It is told again under its number, together with nothing else; what was used since follows under the next one."""
    given = await give(mirror.url, bytes_per_day=10**9)
    async with served(mirror) as (app, client):
        app.receipts.errand = None
        async with await psycopg.AsyncConnection.connect(mirror.url, autocommit=True) as connection:
            received = len((await client.get(URL, headers=given.headers)).content)
            with pytest.raises(psycopg.OperationalError):
                await app.access.tell_use(cast(Any, Lost(connection)))
            received += len((await client.get(URL, headers=given.headers)).content)
            await app.access.tell_use(connection)
            await app.access.tell_use(connection)
        budget = app.access.passes[given.token.token_id].budget

    assert mirror.run("SELECT bytes FROM access.usage") == [(received,)]
    assert budget is not None
    assert 10**9 - budget.bytes.left == received


async def test_use_is_told_by_itself(mirror: Mirror) -> None:
    """About once a second, by the role that writes receipts; so it is known when a token was used last."""
    async with served(mirror) as (_, client):
        given = await give(mirror.url)
        await client.get(URL, headers=given.headers)

        async def is_told() -> bool:
            return bool(mirror.run("SELECT 1 FROM access.usage WHERE token_id = %s", given.token.token_id))

        await until(is_told)


async def test_no_secret_in_any_log(mirror: Mirror, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever is sent, and however it is refused."""
    async with served(mirror) as (_, client):
        given = await give(mirror.url)
        made_up = tokens.make("test").text
        for text in (given.token.text, made_up, given.token.text[:-1]):
            for url in (URL, f"{URL}/none", "/nowhere", f"{URL}?limit=x", f"{URL}?cursor=x"):
                await client.get(url, headers={"Authorization": f"Bearer {text}"})
        mirror.run("ALTER FUNCTION access.token RENAME TO token_that_is_away")
        await client.get(URL, headers={"Authorization": f"Bearer {made_up}"})
        await asyncio.sleep(0)
    said = "".join(capfd.readouterr())

    for text in (given.token.text, made_up):
        assert text[17:60] not in said
        assert text[17:40] not in said
