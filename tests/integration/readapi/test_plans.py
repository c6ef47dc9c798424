"""On an account with a hundred thousand entries a page is read off the index, without a sort, and quickly."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.sql import quote

from kernel.database import READER, conninfo
from readapi.store import QUERIES
from readapi.transactions import FILTERS, page_query
from tests.integration.readapi.mirror import NOON, Mirror

PAGE = {"account_id": "big", "limit": "50", "after_key": "infinity", "after_id": "", "after_account": ""}


@pytest.fixture
def reader(mirror: Mirror) -> Iterator[psycopg.Connection[Any]]:
    """The reader beside an account of 100,000 entries, scattered over the table among another's."""
    mirror.account("big")
    mirror.feeds()
    mirror.run(
        """
        INSERT INTO snapshot.transactions
        SELECT CASE mod(number, 2) WHEN 0 THEN 'big' ELSE 'other' END,
               'tx_' || md5(number::text), mod(number, 1000) - 500, 'USD', 'posted', 'card', 'COFFEE', NULL,
               'ext_' || mod(number, 50), NULL, NULL, now() - make_interval(mins => number),
               current_date - number / 1440, '', now(), 1
          FROM generate_series(1, 200000) AS number
         ORDER BY md5(number::text)
        """
    )
    mirror.run("VACUUM ANALYZE snapshot.transactions")
    with psycopg.connect(conninfo(mirror.url, READER), autocommit=True) as connection:
        # As for a table that is far larger than memory, where a wrong plan is tempting.
        connection.execute(
            "SET effective_cache_size = '1MB'; SET bankmirror.accounts = '*'; SET bankmirror.memo = 'on'"
        )
        yield connection


def plan(
    connection: psycopg.Connection[Any], query: str, parameters: Mapping[str, str | None], executions: int
) -> dict[str, Any]:
    """The plan that a prepared statement has after so many executions."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    text = re.sub(r"%\((\w+)\)s", number, query).replace("%%", "%").rstrip(";")
    connection.execute(f"PREPARE page AS {text}".encode())
    arguments = ", ".join(quote(parameters[name]) for name in names)
    for _ in range(executions):
        connection.execute(f"EXECUTE page ({arguments})".encode())
    row = connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE page ({arguments})".encode()).fetchone()
    connection.execute("DEALLOCATE page")
    assert row is not None
    found: dict[str, Any] = row[0][0]
    return found


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node of a plan."""
    yield node
    for child in node.get("Plans", []):
        yield from nodes(child)


def assert_quick(found: dict[str, Any], rows_max: int) -> None:
    """Off the index in its order: no scan of the table, and nothing sorted but the rows that are shown."""
    for node in nodes(found["Plan"]):
        kind = node["Node Type"]
        if node.get("Relation Name") == "transactions":
            assert kind in ("Index Scan", "Index Only Scan"), json.dumps(node)
            if node["Actual Loops"]:
                assert node["Index Name"] in ("transactions_newest", "transactions_pkey")
                assert node["Actual Rows"] * node["Actual Loops"] <= rows_max
        if "Sort" in kind and node["Actual Loops"]:
            assert node["Actual Rows"] <= rows_max, json.dumps(node)
    # Milliseconds. It takes one or two, but may have to wait for the processor.
    assert found["Execution Time"] < 2_000


# Before PostgreSQL settles on a generic plan (five executions), and after.
@pytest.mark.parametrize("executions", [0, 8])
def test_pages_are_read_off_the_index(reader: psycopg.Connection[Any], executions: int) -> None:
    """Activity, the first page, a page far back and a filtered page."""
    middle = reader.execute(
        "SELECT created_at::text FROM read.transactions WHERE account_id = 'big' "
        "ORDER BY created_at DESC, transaction_id DESC OFFSET 70000 LIMIT 1"
    ).fetchone()
    assert middle is not None
    plain = page_query(frozenset())

    assert_quick(plan(reader, QUERIES["activity_list"], {"account_id": "big", "limit": "20"}, executions), 50)
    assert_quick(plan(reader, plain, PAGE, executions), 60)
    assert_quick(plan(reader, plain, {**PAGE, "after_key": middle[0]}, executions), 60)
    for name, value in (
        ("type", "card"),
        ("direction", "out"),
        ("min_amount_minor", "10"),
        ("posted", ""),
    ):
        filtered = page_query(frozenset([name]))
        assert_quick(plan(reader, filtered, {**PAGE, name: value}, executions), 300)


@pytest.mark.parametrize("executions", [0, 8])
def test_questions_read_what_they_need(mirror: Mirror, reader: psycopg.Connection[Any], executions: int) -> None:
    """All accounts' newest, both ways and behind a cursor; what can be paid, and why a balance is what it is."""
    mirror.account("other")
    mirror.run("UPDATE sync.confirmations SET known_from = clock_timestamp()")  # the history is loaded
    for account_id in ("big", "other"):
        mirror.balance(account_id, 100_00, available_minor=100_00, as_of=datetime.now(UTC))
        mirror.past_balance(account_id, 99_00, known_from=NOON, last_seen_at=datetime.now(UTC))
    everybody = {**PAGE, "account_id": None}
    for sort, beginning in (("-created_at", "infinity"), ("created_at", "-infinity"), ("-created_at", "2026-01-01")):
        page = page_query(frozenset(), sort, everybody=True)
        # The first row of each of two accounts, and a page of each.
        assert_quick(plan(reader, page, {**everybody, "after_key": beginning}, executions), 120)
    can_pay = plan(reader, QUERIES["spendable_get"], {"account_id": "big", "currency": "USD"}, executions)
    assert_indexed(can_pay, 50)
    since = {
        "account_id": "big",
        "currency": None,
        "first": None,
        "before_at": "infinity",
        "before_id": "",
        "limit": "50",
    }
    assert_indexed(plan(reader, QUERIES["balance_explain"], since, executions), 200)


def assert_indexed(found: dict[str, Any], rows_max: int) -> None:
    """Off any index, and no more rows than these."""
    for node in nodes(found["Plan"]):
        if node.get("Relation Name") == "transactions" and node["Actual Loops"]:
            assert node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Heap Scan"), json.dumps(node)
            assert node["Actual Rows"] * node["Actual Loops"] <= rows_max, json.dumps(node)


def test_the_guard_can_fail(reader: psycopg.Connection[Any]) -> None:
    """The two ways not taken: a limit that the planner does not know, and one statement for all filters."""
    reader.execute("SET plan_cache_mode = force_generic_plan; SET statement_timeout = '1s'")
    unlimited = QUERIES["activity_list"].replace("LIMIT 500", "")
    conditions = (f"AND (%({name})s::text IS NULL OR {text})" for name, text in FILTERS.items())
    for_all = QUERIES["transactions_list"].replace("/* filters */", " ".join(conditions))
    unset = dict.fromkeys(FILTERS, None)

    for query, parameters in (
        (unlimited, {"account_id": "big", "limit": "20"}),
        (for_all, {**PAGE, **unset}),
    ):
        with pytest.raises((AssertionError, psycopg.errors.QueryCanceled)):
            assert_quick(plan(reader, query, parameters, 0), 60)
