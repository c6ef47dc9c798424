"""Among a hundred thousand versions a moment is read off the indexes: it costs by what it shows, or what changed."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from kernel.database import READER, conninfo
from readapi.moments import transactions_query
from readapi.store import QUERIES
from tests.integration.readapi.mirror import Mirror as Filled
from tests.integration.readapi.test_plans import nodes, plan

PAGE = {"account_id": "big", "limit": "50", "after_key": "infinity", "after_id": "", "after_account": ""}
# Rows that a page may touch: the four lists that it may be merged from, each as long as the longest page.
ROWS_MAX = 4 * 501
# Entries of the account, one a minute; each was pending for an hour under an id of its own.
ENTRIES = 50_000
FILL = f"""
INSERT INTO snapshot.transactions
SELECT account, 'tx_' || number, mod(number, 1000) - 500, 'USD', 'posted', 'card', 'COFFEE', NULL, NULL, NULL,
       'hold_' || number, made, made::date, '', made + interval '1 hour', 1
  FROM generate_series(1, {ENTRIES}) AS number, unnest(ARRAY['big', 'other']) AS account,
       LATERAL (SELECT now() - make_interval(mins => number) AS made) AS at
 ORDER BY md5(number::text);
INSERT INTO snapshot.transaction_revisions
SELECT account, 'hold_' || number, -5, 'USD', 'pending', 'card', 'COFFEE', NULL, NULL, NULL, NULL, made, NULL, '', made,
       1, made + interval '1 hour', 'settled', 'tx_' || number, 1
  FROM generate_series(1, {ENTRIES}) AS number, unnest(ARRAY['big', 'other']) AS account,
       LATERAL (SELECT now() - make_interval(mins => number) AS made) AS at
 ORDER BY md5(number::text);
INSERT INTO snapshot.balance_snapshots
SELECT account, 'USD', number, NULL, made, made, made, 1
  FROM generate_series(1, 20000) AS number, unnest(ARRAY['big', 'other']) AS account,
       LATERAL (SELECT now() - make_interval(mins => number) AS made) AS at;
INSERT INTO snapshot.balances
SELECT account, 'USD', 1, NULL, now(), now(), 1 FROM unnest(ARRAY['big', 'other']) AS account;
UPDATE snapshot.accounts SET first_seen_at = '-infinity';
SELECT sync.move_clock();
"""


@pytest.fixture
def filled(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The reader beside two accounts with as many revisions as transactions."""
    mirror = Filled(database_url)
    mirror.account("big")
    mirror.account("other")
    mirror.feeds()
    mirror.run(FILL)
    mirror.run("VACUUM ANALYZE snapshot.transactions, snapshot.transaction_revisions, snapshot.balance_snapshots")
    mirror.close()
    with psycopg.connect(conninfo(database_url, READER), autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0; SET effective_cache_size = '1MB'; SET bankmirror.accounts = '*'")
        yield connection


def rows_read(found: dict[str, Any]) -> int:
    """Rows that a plan read of the tables of history, those included that it threw away."""
    read = 0
    for node in nodes(found["Plan"]):
        if node.get("Relation Name") in ("transactions", "transaction_revisions", "balance_snapshots"):
            assert node["Node Type"] != "Seq Scan", json.dumps(node)
            read += node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    return int(read)


def moment(connection: psycopg.Connection[Any], minutes: int) -> str:
    """So long ago."""
    row = connection.execute("SELECT (now() - make_interval(mins => %s))::text", [minutes]).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.seconds(180)
@pytest.mark.parametrize("executions", [0, 8])
def test_a_moment_is_read_off_the_indexes(filled: psycopg.Connection[Any], executions: int) -> None:
    """Of two hundred thousand versions: a page, and the holds of that hour; a balance: one row."""
    for minutes in (120, 25_000, 49_000):
        known_at = moment(filled, minutes)
        page = plan(filled, transactions_query(frozenset()), {**PAGE, "known_at": known_at}, executions)
        assert page["Plan"]["Actual Rows"] == 1
        assert rows_read(page) <= ROWS_MAX, json.dumps(page)
        as_of = {**PAGE, "known_at": moment(filled, 60), "as_of": known_at}
        assert rows_read(plan(filled, transactions_query(frozenset(["as_of"])), as_of, executions)) <= ROWS_MAX
    balances = {"known_at": moment(filled, 5_000), "as_of": moment(filled, 15_000), "currency": None,
                "after_id": "", "after_currency": "", "limit": "50"}  # fmt: skip
    assert rows_read(plan(filled, QUERIES["balances_at_list"], balances, executions)) <= 10


@pytest.mark.seconds(180)
def test_differences_read_what_changed(filled: psycopg.Connection[Any]) -> None:
    """Two hours of a year cost by what came and went in them, and since."""
    asked = {"known_from": moment(filled, 1_000), "known_to": moment(filled, 880), "account_id": "big", "first": None,
             "last": None, "after_id": "", "after_day": "-infinity", "after_key": "", "limit": "50"}  # fmt: skip
    found = plan(filled, QUERIES["differences_list"], asked, 0)

    assert rows_read(found) <= 20_000, json.dumps(found)


def test_the_guard_can_fail(filled: psycopg.Connection[Any]) -> None:
    """The way not taken: a page that does not begin where the moment is reads all that came since."""
    query = transactions_query(frozenset()).replace("AND entry.created_at <= %(known_at)s::timestamptz", "")
    with pytest.raises(AssertionError):
        assert rows_read(plan(filled, query, {**PAGE, "known_at": moment(filled, 25_000)}, 0)) <= ROWS_MAX
