"""Migrating: from nothing, twice, and two processes at once."""

import multiprocessing
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from kernel.money import all_currencies
from schema.migrate import HEAD, current_revision, upgrade


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """A database that was never migrated."""
    name = f"empty_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield make_conninfo(server_url, dbname=name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_upgrade_from_nothing_and_again(empty_database_url: str) -> None:
    """The first upgrade reaches the head; the second finds nothing to do."""
    assert current_revision(empty_database_url) is None

    upgrade(empty_database_url)
    upgrade(empty_database_url)

    assert current_revision(empty_database_url) == HEAD


def test_two_processes_may_upgrade_at_once(empty_database_url: str) -> None:
    """Two starting machines race to migrate: one does, the other waits, both go on."""
    spawn = multiprocessing.get_context("spawn")
    racing = [spawn.Process(target=upgrade, args=(empty_database_url,)) for _ in range(2)]
    for process in racing:
        process.start()
    for process in racing:
        process.join(60)

    assert [process.exitcode for process in racing] == [0, 0]
    assert current_revision(empty_database_url) == HEAD


def test_head_is_the_last_revision() -> None:
    """The constant that processes compare with is the newest file."""
    revisions = sorted(path.name[:4] for path in Path("schema/versions").glob("*.sql"))

    assert revisions[-1] == HEAD


def test_a_finance_person_can_read_the_schema(database_url: str) -> None:
    """Every table and view says what it is, where psql's \\d+ shows it."""
    with psycopg.connect(database_url) as connection:
        silent = connection.execute(
            """
            SELECT oid::regclass::text FROM pg_class
             WHERE relkind IN ('r', 'v', 'm') AND obj_description(oid, 'pg_class') IS NULL
               AND relnamespace::regnamespace::text IN ('snapshot', 'sync', 'read', 'transfer', 'audit')
            """
        ).fetchall()

    assert silent == []


def test_currencies_are_iso_4217(database_url: str) -> None:
    """The table in the database says what the library says, and multiplying by its unit never loses a digit."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT currency, exponent, name FROM snapshot.currencies ORDER BY 1").fetchall()
        digits = connection.execute(
            "SELECT exponent, (999999999999999 * unit)::text FROM snapshot.currencies"
        ).fetchall()

    assert rows == all_currencies()
    assert all(len(amount.partition(".")[2]) == places for places, amount in digits)
    assert all(amount.replace(".", "").lstrip("0") == "9" * 15 for _, amount in digits)


def test_revisions_are_sql_beside_a_stub() -> None:
    """A person who writes no Python can read every change of the schema."""
    for stub in Path("schema/versions").glob("[0-9]*.py"):
        assert stub.with_suffix(".sql").exists()
        assert len(re.sub(r'"""[^"]*"""', "", stub.read_text()).split("\n")) < 20
