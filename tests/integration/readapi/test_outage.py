"""What callers see while the database restarts, is away, or takes too long (faults D1, D2, D8, D11)."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql

from kernel.database import READER
from tests.integration.readapi.mirror import Mirror, asking
from tests.waiting import until

PATH = "/banking/accounts/acct_1/activity"
TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = %s AND application_name = 'bankmirror readapi'
"""


async def timed(client: httpx.AsyncClient, path: str) -> tuple[httpx.Response, float]:
    """An answer, and how many seconds it took."""
    started = time.perf_counter()
    response = await client.get(path)
    return response, time.perf_counter() - started


async def test_cut_connections_cost_at_most_one_error(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Every connection is cut three times under load, as by a restart: one error at most, and nobody waits long."""
    mirror.account("acct_1")
    mirror.feeds()
    statuses: Counter[int] = Counter()
    slowest = 0.0
    stop = asyncio.Event()

    async def load() -> None:
        nonlocal slowest
        while not stop.is_set():
            response, seconds = await timed(client, PATH)
            statuses[response.status_code] += 1
            slowest = max(slowest, seconds)

    callers = [asyncio.create_task(load()) for _ in range(6)]
    database = urlsplit(mirror.url).path[1:]
    cut = 0
    for times in range(1, 5):

        async def answered(enough: int = times * 25) -> bool:
            return sum(statuses.values()) >= enough

        await until(answered)
        if times < 4:
            ((killed,),) = await asyncio.to_thread(mirror.run, TERMINATE, database)
            cut += killed
    stop.set()
    await asyncio.gather(*callers)

    assert cut >= 3
    assert sum(statuses.values()) - statuses[200] <= 1, statuses
    assert slowest < 10.0


async def test_a_database_that_is_away_is_a_quick_503(
    mirror: Mirror, client: httpx.AsyncClient, server_url: str
) -> None:
    """503 with Retry-After within seconds; alive and honest meanwhile; well again without a restart."""
    mirror.account("acct_1")
    assert (await client.get(PATH)).status_code == 200
    name = urlsplit(mirror.url).path[1:]

    def allow(connections: bool) -> None:
        with psycopg.connect(server_url, autocommit=True) as administrator:
            administrator.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), sql.Literal(connections))
            )
            administrator.execute(TERMINATE, [name])

    await asyncio.to_thread(allow, connections=False)
    try:
        response, seconds = await timed(client, PATH)
        ready, _ = await timed(client, "/ready")
        health = await client.get("/health")
        metrics = await client.get("/metrics")
    finally:
        await asyncio.to_thread(allow, connections=True)

    assert (response.status_code, response.json()["type"]) == (503, "/problems/database-unavailable")
    assert response.json()["retryable"] is True
    assert int(response.headers["retry-after"]) >= 1
    assert seconds < 15.0
    assert ready.status_code == 503
    assert health.status_code == 200
    assert "bankmirror_database_up 0.0" in metrics.text

    async def well_again() -> bool:
        return (await client.get(PATH)).status_code == 200

    await until(well_again)


async def test_it_starts_without_a_database() -> None:
    """A database that nobody listens for is said by the answers, not by a crash at the start."""
    async with asking("postgresql://nobody@127.0.0.1:9/nothing") as client:
        response, seconds = await timed(client, PATH)

    assert response.status_code == 503
    assert seconds < 15.0


@pytest.mark.parametrize(
    ("shorter", "problem"), [("statement_timeout_ms", "query-timeout"), ("lock_timeout_ms", "overloaded")]
)
async def test_a_question_that_takes_too_long(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, shorter: str, problem: str
) -> None:
    """A table that is locked under a reader: whichever limit ends it first, it is a 503 to be tried again."""
    mirror.account("acct_1")
    monkeypatch.setattr("readapi.app.READER", replace(READER, **cast(Any, {shorter: 200})))
    with psycopg.connect(mirror.url) as migration:
        migration.execute("LOCK TABLE snapshot.transactions")
        async with asking(mirror.url) as client:
            response = await client.get(PATH)

    assert (response.status_code, response.json()["type"]) == (503, f"/problems/{problem}")
    assert "retry-after" in response.headers


async def test_more_callers_than_can_be_served(mirror: Mirror) -> None:
    """Beyond the queue callers are told at once that it is too much, and the rest is served."""
    mirror.account("acct_1")
    async with asking(mirror.url, readapi_connections_max=1) as client:
        await client.get(PATH)
        with psycopg.connect(mirror.url) as migration:
            # The only connection waits for the table, or the queue would be gone before it is long enough.
            migration.execute("LOCK TABLE snapshot.transactions")
            # Each something else: who asks the same would wait for one answer.
            callers = [asyncio.create_task(client.get(PATH, params={"limit": limit})) for limit in range(1, 61)]
            await asyncio.wait(callers, return_when=asyncio.FIRST_COMPLETED)
        responses = await asyncio.gather(*callers)

    statuses = Counter(response.status_code for response in responses)
    assert statuses[200] >= 20
    assert set(statuses) == {200, 503}
    refused = next(response for response in responses if response.status_code == 503)
    assert refused.json()["type"] == "/problems/overloaded"


async def test_an_old_schema_is_not_ready(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """A database of another version is said by /ready, with the mend."""
    mirror.run("ALTER VIEW read.feeds RENAME COLUMN feed TO stream")
    response = await client.get("/ready")

    assert response.status_code == 503
    assert "bankmirror migrate" in response.json()["detail"]
