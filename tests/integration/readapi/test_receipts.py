"""Who asked what is written down, exactly and off the way, as far as there is room and a database."""

import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from kernel.caller import ANONYMOUS, Caller
from kernel.database import RECEIPTS, Connection, conninfo
from readapi import receipts as receipts_module
from readapi.receipts import Receipts
from tests.conftest import Administrator
from tests.integration.readapi.mirror import Mirror, asking
from tests.integration.readapi.process import serving
from tests.waiting import until

AGENT = Caller("AGENT001", "agent", frozenset({"read"}))
HASH = hashlib.sha256(b"answer").digest()
NOW = time.time()


def written(mirror: Mirror, columns: str = "caller, target, status, times") -> list[tuple[Any, ...]]:
    """What is written down, in the order of the questions."""
    return mirror.run(f"SELECT {columns} FROM audit.reads ORDER BY target, status, version")


@asynccontextmanager
async def noting(mirror: Mirror, **given: Any) -> AsyncIterator[Receipts]:
    """Receipts for the test's database, that are written when the test says so."""
    receipts = Receipts(mirror.url, **{"keep_days": 90, **given})
    yield receipts
    await receipts.close()


@contextmanager
def away(mirror: Mirror, administrator: Administrator) -> Iterator[None]:
    """The database takes no connection and has ended those that there were."""
    name = urlsplit(mirror.url).path[1:]
    own = mirror.run("SELECT pg_backend_pid()")[0][0]
    administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
    administrator.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s AND pid <> %s", [name, own]
    )
    try:
        yield
    finally:
        administrator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())


async def test_an_answer_leaves_a_receipt(mirror: Mirror) -> None:
    """The hash is that of the body, the version tells what was seen; from memory and unchanged ones count as well."""
    mirror.account("acct_1")
    mirror.feeds()
    async with asking(mirror.url) as client:
        first = await client.get("/banking/accounts/acct_1")
        again = await client.get("/banking/accounts/acct_1")
        await client.get("/banking/accounts/acct_1", headers={"If-None-Match": first.headers["etag"]})
        absent = await client.get("/banking/accounts/acct_2?x%00=1")
        metrics = (await client.get("/metrics")).text

    assert again.content == first.content
    rows = mirror.run(
        "SELECT status, sum(times), result_sha256, bool_and(version ~ '^[0-9]+$'), min(first_at) <= max(last_at),"
        " token_id, caller FROM audit.reads WHERE target = '/banking/accounts/acct_1'"
        " GROUP BY status, result_sha256, token_id, caller"
        " ORDER BY status"
    )
    told = (hashlib.sha256(first.content).digest(), True, True, None, "anonymous")
    assert rows == [(200, 2, *told), (304, 1, *told)]
    assert ("anonymous", "/banking/accounts/acct_2?x%00=1", absent.status_code, 1) in written(mirror)
    assert "bankmirror_receipts_lost_total 0.0" in metrics
    assert "bankmirror_receipts_waiting" in metrics


async def test_the_same_is_one_row(mirror: Mirror) -> None:
    """Caller, question, status, version and hash make a receipt; the rest is counted, from first to last."""
    async with noting(mirror) as receipts:
        for moment in (NOW, NOW + 1.5, NOW + 2.25):
            receipts.note(AGENT, b"/a", 200, HASH, "7", moment)
        receipts.note(AGENT, b"/a", 200, HASH, "8", NOW)
        receipts.note(ANONYMOUS, b"/a", 200, HASH, "9", NOW)
        await receipts.flush()

        at = [datetime.fromtimestamp(moment, UTC) for moment in (NOW, NOW + 2.25)]
        assert written(mirror, "token_id, caller, times, version") == [
            ("AGENT001", "agent", 3, "7"),
            ("AGENT001", "agent", 1, "8"),
            (None, "anonymous", 1, "9"),
        ]
        assert mirror.run("SELECT first_at, last_at FROM audit.reads WHERE version = '7'") == [tuple(at)]
        assert (receipts.written, receipts.lost, receipts.waiting) == (5, 0, 0)


async def test_beyond_the_bound_the_loss_is_exact(mirror: Mirror) -> None:
    """What has a place goes on being counted, what has none is lost, each time; after a flush there is room again."""
    async with noting(mirror, waiting_max=10) as receipts:
        for number in range(25):
            receipts.note(AGENT, b"/%d" % number, 200, HASH, "", NOW + 1)
            receipts.note(AGENT, b"/%d" % number, 200, HASH, "", NOW + 2)
        assert (receipts.lost, receipts.waiting) == (30, 10)
        await receipts.flush()
        receipts.note(AGENT, b"/new", 200, HASH, "", NOW + 3)
        await receipts.flush()

        assert mirror.run("SELECT count(*), sum(times) FROM audit.reads") == [(11, 21)]
        assert (receipts.written, receipts.lost, receipts.waiting) == (21, 30, 0)


async def test_long_questions_are_bounded_as_well(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand addresses of 32 KiB are not kept in memory."""
    monkeypatch.setattr(receipts_module, "WAITING_BYTES_MAX", 100)
    async with noting(mirror) as receipts:
        for number in range(3):
            receipts.note(AGENT, b"/%040d" % number, 200, HASH, "", NOW + 1)

        assert (receipts.waiting, receipts.lost) == (2, 1)


async def test_receipts_wait_for_a_database_that_is_away(mirror: Mirror, administrator: Administrator) -> None:
    """Nothing fails; what waits is kept up to the bound and written once, what is beyond is counted."""
    async with noting(mirror, waiting_max=3) as receipts:
        receipts.note(AGENT, b"/before", 200, HASH, "", NOW + 1)
        await receipts.flush()
        with away(mirror, administrator):
            for number in range(5):
                receipts.note(AGENT, b"/%d" % number, 200, HASH, "", NOW + 2)
                await receipts.flush()
            assert (receipts.waiting, receipts.lost, receipts.written) == (3, 2, 1)
        await receipts.flush()
        await receipts.flush()

        assert [row[1] for row in written(mirror)] == ["/0", "/1", "/2", "/before"]
        assert (receipts.waiting, receipts.lost, receipts.written) == (0, 2, 4)


async def test_what_is_refused_holds_nothing_up(mirror: Mirror) -> None:
    """PostgreSQL takes no such status, however often it is asked: lost and counted, and the next ones are written."""
    ran = []

    async def errand(connection: Connection) -> None:
        await connection.execute("SELECT 1")
        ran.append(True)

    async with noting(mirror) as receipts:
        receipts.errand = errand
        receipts.note(AGENT, b"/bad", 99_999, HASH, "7", NOW)
        receipts.note(AGENT, b"/bad", 99_999, HASH, "7", NOW)
        await receipts.flush()
        assert (receipts.lost, receipts.waiting, ran) == (2, 0, [True])
        receipts.note(AGENT, b"/good", 200, HASH, "7", NOW)
        await receipts.flush()

        assert written(mirror) == [("agent", "/good", 200, 1)]
        assert (receipts.lost, receipts.written, ran) == (2, 1, [True, True])


async def test_what_takes_too_long_is_written_in_parts(mirror: Mirror) -> None:
    """More than two rows take longer than a statement may here: they come in twos, each of them once."""
    mirror.run(
        "CREATE FUNCTION audit.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF (SELECT count(*) FROM written) > 2 THEN PERFORM pg_sleep(30); END IF; RETURN NULL; END $$;"
        " CREATE TRIGGER dawdle AFTER INSERT ON audit.reads REFERENCING NEW TABLE AS written"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit.dawdle()"
    )
    async with noting(mirror) as receipts:
        await receipts.flush()
        receipts._conninfo = make_conninfo(
            receipts._conninfo,
            options=f"{conninfo_to_dict(receipts._conninfo)['options']} -c statement_timeout=200",
        )
        for number in range(6):
            receipts.note(AGENT, b"/%d" % number, 200, HASH, "7", NOW)
        await receipts.flush()
        receipts.note(AGENT, b"/5", 200, HASH, "7", NOW + 1)
        while receipts.waiting:
            await receipts.flush()

        assert written(mirror) == [("agent", f"/{number}", 200, 1 + (number == 5)) for number in range(6)]
        assert (receipts.lost, receipts.written, receipts._bytes) == (0, 7, 0)


async def test_bytes_that_are_on_their_way_count(
    mirror: Mirror, administrator: Administrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that waits for the database takes room until it is written."""
    monkeypatch.setattr(receipts_module, "WAITING_BYTES_MAX", 10)
    async with noting(mirror) as receipts:
        with away(mirror, administrator):
            receipts.note(AGENT, b"/123456", 200, HASH, "7", NOW)
            await receipts.flush()
            receipts.note(AGENT, b"/abc", 200, HASH, "7", NOW)
            assert (receipts.lost, receipts.waiting) == (1, 1)
        await receipts.flush()
        receipts.note(AGENT, b"/abc", 200, HASH, "7", NOW)

        assert (receipts.lost, receipts.waiting) == (1, 1)


NOTE = """
    SELECT audit.note_reads(%s, %s, %s, ARRAY['T'], ARRAY['agent'], ARRAY['/a'], ARRAY[200::smallint], ARRAY['1'],
                            ARRAY[sha256('x')], ARRAY[%s::timestamptz], ARRAY[%s::timestamptz], ARRAY[2::bigint])"""


def test_a_batch_in_doubt_is_written_once(mirror: Mirror) -> None:
    """Handed over again after a lost connection, it is known by its number; another process's numbers are its own."""
    now = datetime.now(UTC)
    with psycopg.connect(conninfo(mirror.url, RECEIPTS), autocommit=True) as connection:
        told = [
            connection.execute(NOTE, [worker, batch, 90, now, now]).fetchone()
            for worker, batch in (("a", 1), ("a", 1), ("b", 1), ("a", 2))
        ]

    assert told == [(True,), (False,), (True,), (True,)]
    assert mirror.run("SELECT sum(times) FROM audit.reads") == [(6,)]


def test_old_receipts_go_and_no_others(mirror: Mirror) -> None:
    """After the days that they are kept for; the role that writes them cannot have it shorter than a week."""
    now = datetime.now(UTC)
    with psycopg.connect(conninfo(mirror.url, RECEIPTS), autocommit=True) as connection:
        for number, days in enumerate((91, 89, 0)):
            then = now - timedelta(days=days)
            connection.execute(NOTE, ["a", number, 90, then, then])
        connection.execute(NOTE, ["a", 9, 90, now, now])
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            connection.execute(NOTE, ["a", 10, 6, now, now])

    assert mirror.run(
        "SELECT count(*) FILTER (WHERE last_at < now() - interval '90 days'), count(*) FROM audit.reads"
    ) == [(0, 3)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM audit.reads",
        "INSERT INTO audit.read_batches VALUES ('w', 1, now())",
        "UPDATE audit.reads SET times = 1",
        "DELETE FROM audit.reads",
        "TRUNCATE audit.reads",
        "SELECT * FROM audit.events",
        "SELECT audit.append('a', 'b', 'c', '{}')",
        "SELECT * FROM read.accounts",
        "SELECT * FROM access.tokens",
    ],
)
def test_who_writes_receipts_can_do_nothing_else(mirror: Mirror, statement: str) -> None:
    """One function is all that its role has."""
    with (
        psycopg.connect(conninfo(mirror.url, RECEIPTS), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


async def test_a_killed_process_takes_no_more_than_a_second(mirror: Mirror) -> None:
    """kill -9: what was asked before the last batch is on record, whatever becomes of what came after it."""
    with serving(mirror.url) as served:
        async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
            for number in range(20):
                await client.get(f"/banking/accounts?limit={number + 1}")

            async def are_written() -> bool:
                return len(written(mirror)) == 20

            await until(are_written)
            await client.get("/banking/accounts?limit=99")
        served.process.kill()
        served.process.wait()

    assert mirror.run("SELECT sum(times) FROM audit.reads WHERE target NOT LIKE '%%=99'") == [(20,)]
    assert receipts_module.FLUSH_SECONDS == 1.0


async def test_the_last_ones_are_written_at_the_end(mirror: Mirror) -> None:
    """A process that is asked to end leaves none behind."""
    async with asking(mirror.url) as client:
        await client.get("/banking/accounts")

    assert [row[1] for row in written(mirror)] == ["/banking/accounts"]
