"""Every named query of every package is valid against the migrated schema, in the role that runs it."""

import re
from importlib.util import find_spec

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from kernel.sql import parse_queries, read_queries

ROLES = {
    "ingest": "bankmirror_ingest",
    "readapi": "bankmirror_reader",
    "transfers": "bankmirror_transfers",
    "bankmirror": None,  # status and doctor run as whoever DATABASE_URL names
}
# What a package asks in another role than its own.
ROLES_OF_QUERIES = {"reads_note": "bankmirror_receipts"}
PACKAGES = [name for name in ROLES if find_spec(name)]
PREPARABLE = re.compile(r"(?:\s|--[^\n]*\n|\()*(SELECT|INSERT|UPDATE|DELETE|WITH|VALUES|MERGE)\b", re.IGNORECASE)


def numbered(query: str) -> str:
    """The query with psycopg's named placeholders as PostgreSQL's numbered ones."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match[1]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return re.sub(r"%\((\w+)\)[sbt]", number, query).replace("%%", "%")


def prepare_all(connection: psycopg.Connection[tuple[object, ...]], text: str) -> int:
    """Prepare every query of a file; what cannot be prepared (staging tables) is run first. Returns how many."""
    queries = parse_queries(text)
    prepared = 0
    for query in queries.values():
        if not PREPARABLE.match(query) and "CREATE TEMP" in query:
            connection.execute(query)
    for name, query in queries.items():
        if PREPARABLE.match(query):
            if name in ROLES_OF_QUERIES:
                connection.execute(f"SET ROLE {ROLES_OF_QUERIES[name]}".encode())
            connection.execute(f"PREPARE {name} AS {numbered(query)}".encode())
            connection.execute("RESET ROLE")
            prepared += 1
    return prepared


@pytest.mark.parametrize("package", PACKAGES)
def test_every_query_prepares(package: str, database_url: str) -> None:
    """A typo in a column, a table that is not granted, or a parameter without a type fails here."""
    role = ROLES[package]
    conninfo = make_conninfo(database_url, options=f"-c role={role}") if role else database_url
    with psycopg.connect(conninfo) as connection:
        prepared = prepare_all(connection, read_queries(package))

    assert prepared > 0


def test_a_typo_is_found(database_url: str) -> None:
    """The check above can fail: it names the column that is not there."""
    text = "-- name: accounts_select\n-- A typo.\nSELECT acount_id FROM read.accounts WHERE account_id = %(id)s"
    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(psycopg.errors.UndefinedColumn, match="acount_id"),
    ):
        prepare_all(connection, text)


def test_the_wrong_role_is_found(database_url: str) -> None:
    """The check above can fail: a query on a table that its role may not touch."""
    text = "-- name: rows_select\n-- Not for readers.\nSELECT account_id FROM snapshot.accounts"
    with (
        psycopg.connect(make_conninfo(database_url, options="-c role=bankmirror_reader")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        prepare_all(connection, text)
