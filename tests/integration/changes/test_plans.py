"""A page of changes is read off the indexes: it costs by what it shows, and hardly anything where nothing changed."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from kernel.database import READER, conninfo
from readapi.store import QUERIES
from tests.integration.readapi.mirror import Mirror
from tests.integration.readapi.test_plans import nodes, plan

ENTRIES = 10_000
# Stored over a week by many polls, of which each stored ten rows; half of the rows were pending before.
FILL = f"""
INSERT INTO snapshot.transactions
SELECT account, 'tx_' || number, 5, 'USD', 'posted', 'card', 'COFFEE', NULL, NULL, NULL, NULL, made, made::date, '',
       made, 1
  FROM generate_series(1, {ENTRIES}) AS number, unnest(ARRAY['acct_a', 'acct_b']) AS account,
       LATERAL (SELECT now() - make_interval(mins => number / 10 + 10) AS made) AS at
 ORDER BY md5(number::text);
INSERT INTO snapshot.transaction_revisions
SELECT account_id, transaction_id, amount_minor, currency, 'pending', type, description, NULL, NULL, NULL, NULL,
       created_at, NULL, '', known_from - interval '1 day', 1, known_from, 'changed', NULL, 1
  FROM snapshot.transactions WHERE right(transaction_id, 1) < '5';
UPDATE snapshot.accounts SET first_seen_at = '-infinity';
SELECT sync.move_clock();
"""
TABLES = ("transactions", "transaction_revisions")
FIRST: dict[str, str | None] = {
    "account_id": None, "since": "-infinity", "until": None, "after_account": "", "after_moment": "-infinity",
    "after_kind": "", "after_id": "", "limit": "50",
}  # fmt: skip


@pytest.fixture
def reader(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The reader beside two accounts with a week of history."""
    mirror = Mirror(database_url)
    mirror.account("acct_a")
    mirror.account("acct_b")
    mirror.feeds()
    mirror.run(FILL)
    mirror.run("VACUUM ANALYZE snapshot.transactions, snapshot.transaction_revisions")
    mirror.close()
    with psycopg.connect(conninfo(database_url, READER), autocommit=True) as connection:
        # As every page is asked for.
        connection.execute("SET plan_cache_mode = force_generic_plan; SET effective_cache_size = '1MB'")
        connection.execute(
            "SELECT set_config('bankmirror.accounts', '*', false), set_config('bankmirror.memo', 'on', false)"
        )
        yield connection


def rows_read(found: dict[str, Any]) -> int:
    """Rows that a plan read of the transactions and their history, those included that it threw away."""
    read = 0
    for node in nodes(found["Plan"]):
        if node.get("Relation Name") in TABLES and node["Actual Loops"]:
            assert node["Node Type"] != "Seq Scan", json.dumps(node)
            read += node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    return int(read)


def moment(connection: psycopg.Connection[Any], minutes: int) -> str:
    """So long ago."""
    row = connection.execute("SELECT (now() - make_interval(mins => %s))::text", [minutes]).fetchone()
    assert row is not None
    return str(row[0])


def test_pages_are_read_off_the_indexes(reader: psycopg.Connection[Any]) -> None:
    """Of thirty thousand versions: the first page, one in the middle, one account's, and a window without any."""
    query = QUERIES["changes_list"]
    middle = {**FIRST, "until": moment(reader, 5), "after_account": "acct_a", "after_moment": moment(reader, 600)}
    # The page, the keys on it twice, a poll at each of its ends, and the version before of each row.
    for page in (FIRST, middle, {**FIRST, "account_id": "acct_b", "after_account": "acct_b"}):
        assert rows_read(plan(reader, query, page, 0)) <= 6 * 51 + 4 * 10
    nothing = {**FIRST, "since": moment(reader, 5)}
    assert rows_read(plan(reader, query, nothing, 0)) == 0


def test_the_guard_can_fail(reader: psycopg.Connection[Any]) -> None:
    """The way not taken: without the moment that fills the page, an account is read to its end for each."""
    query = QUERIES["changes_list"].replace("entry.known_from <= page.full_at", "entry.known_from <= asked.until")
    assert query != QUERIES["changes_list"]
    assert rows_read(plan(reader, query, FIRST, 0)) > ENTRIES
