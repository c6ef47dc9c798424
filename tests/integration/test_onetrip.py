"""Several statements in one message: one transaction whose settings end with it; the connection is as before."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from kernel import onetrip
from kernel.database import READER, Pool, make_pool
from kernel.onetrip import ask

SET = "SELECT set_config('bench.who', %(who)s, true)"
GET = "SELECT current_setting('bench.who', true), %(given)s::int, %(given)s::text, 7 %% 4"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Of a single connection, so that each test sees what the one before left on it."""
    async with make_pool(database_url, READER, max_size=1, autocommit=True) as pool:
        yield pool


async def test_all_rows_come_and_a_setting_ends_with_the_trip(pool: Pool) -> None:
    """The second statement sees what the first one set; the next trip on the same connection does not."""
    async with pool.connection() as connection:
        for who in ("me", "you"):
            assert await ask(connection, [(SET, {"who": who}), (GET, {"given": "41"})]) == [
                [(who,)],
                [(who, 41, "41", 3)],
            ]
        assert await ask(connection, [(GET, {"given": None})]) == [[("", None, None, 3)]]
        # An ordinary connection again.
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_a_failure_is_that_of_the_first_statement_that_failed(pool: Pool) -> None:
    """Also of one that cannot be prepared; afterwards the connection goes on."""
    async with pool.connection() as connection:
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            await ask(connection, [(SET, {"who": "me"}), (GET, {"given": "x"}), ("SELECT 1/0", {})])
        with pytest.raises(psycopg.errors.UndefinedTable):
            await ask(connection, [("SELECT * FROM nowhere", {})])
        with pytest.raises(psycopg.DataError):
            await ask(connection, [(SET, {"who": "a\0b"})])
        assert await ask(connection, [(GET, {"given": "1"})]) == [[("", 1, "1", 3)]]


async def test_more_statements_than_are_kept_prepared(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond are answered as well, and nothing is prepared for them."""
    monkeypatch.setattr(onetrip, "PREPARED_MAX", 1)
    async with pool.connection() as connection:
        for _ in range(2):
            assert await ask(connection, [(SET, {"who": "me"}), (GET, {"given": "1"})]) == [
                [("me",)],
                [("me", 1, "1", 3)],
            ]
        assert await ask(connection, [("SELECT count(*) FROM pg_prepared_statements", {})]) == [[(1,)]]


async def test_what_no_socket_takes_at_once(pool: Pool) -> None:
    """Both sides send more than fits in between, and neither waits for ever."""
    long = "x" * 5_000_000
    async with pool.connection() as connection:
        told = [("SELECT %(long)s::text", {"long": long})] * 2
        assert await ask(connection, told) == [[(long,)], [(long,)]]


async def test_who_is_cancelled_leaves_a_connection_that_works(pool: Pool) -> None:
    """The pool's only connection is asked again after a caller left in the middle of a question."""
    async with pool.connection() as connection:
        asking = asyncio.create_task(ask(connection, [("SELECT pg_sleep(60)::text", {})]))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises((asyncio.CancelledError, psycopg.errors.QueryCanceled)):
            await asking
    async with pool.connection() as connection:
        assert await ask(connection, [("SELECT %(given)s::int", {"given": "1"})]) == [[(1,)]]


async def test_a_reader_plans_a_question_once(pool: Pool) -> None:
    """And not five times on each connection, or for ever: planning takes ten times as long as answering."""
    question = "SELECT count(*) FROM read.feeds WHERE account_id = %(account_id)s"
    counted = (
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%%read.feeds%%feed_'"
    )
    async with pool.connection() as connection:
        for number in range(3):
            await ask(connection, [(question + " -- feed_", {"account_id": str(number)})])
        assert await ask(connection, [(counted, {})]) == [[(3, 0)]]
