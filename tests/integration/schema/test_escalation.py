"""What runs with its owner's rights resolves nothing in a schema that its caller can write to."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

OURS = ["snapshot", "sync", "read", "transfer", "audit"]
# What evil does here is what it does as the owner: only that one may.
EVIL = """
CREATE FUNCTION pg_temp.evil(anything pg_catalog.timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    CREATE TABLE public.owned_by_evil ();
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN true;
END
$$;
GRANT EXECUTE ON FUNCTION pg_temp.evil TO PUBLIC;
CREATE DOMAIN pg_temp.timestamptz AS pg_catalog.timestamptz CHECK (pg_temp.evil(VALUE));
GRANT USAGE ON TYPE pg_temp.timestamptz TO PUBLIC;
"""


def escalated(database_url: str) -> bool:
    """Whether a type of its own in ingest's temporary schema makes a refresh run its code as the owner."""
    as_ingest = make_conninfo(database_url, options="-c role=bankmirror_ingest")
    with psycopg.connect(as_ingest, autocommit=True) as connection:
        connection.execute("CREATE TEMPORARY TABLE staged (a int)")
        connection.execute(EVIL.encode())
        connection.execute("SELECT read.refresh()")
        return connection.execute("SELECT to_regclass('public.owned_by_evil')").fetchone() != (None,)


def test_a_temporary_type_of_ingest_does_not_run_as_the_owner(database_url: str) -> None:
    """Ingest stages rows in temporary tables, and whatever it puts beside them stays without effect."""
    assert not escalated(database_url)


def test_control_without_pg_temp_last_it_does(database_url: str) -> None:
    """The attack above is one: a search_path that does not name pg_temp has it first."""
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER FUNCTION read.refresh SET search_path = pg_catalog")

    assert escalated(database_url)


def test_every_function_searches_pg_temp_last(database_url: str) -> None:
    """Of ours, only SQL functions that run with their caller's rights may do without: they are inlined."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            """
            SELECT oid::regproc::text, prosecdef OR prolang <> (SELECT oid FROM pg_language WHERE lanname = 'sql'),
                   (SELECT setting FROM unnest(proconfig) AS setting WHERE setting LIKE 'search_path=%%')
              FROM pg_proc WHERE pronamespace::regnamespace::text = ANY (%s)
            """,
            [OURS],
        ).fetchall()

    safe = "search_path=pg_catalog, pg_temp"
    assert {name for name, _, path in rows if path == safe} >= {"read.refresh", "transfer.settle", "audit.append"}
    assert [name for name, needed, path in rows if path != safe and (needed or path is not None)] == []


@pytest.mark.parametrize("role", ["bankmirror_reader", "bankmirror_transfers", "bankmirror_ingest"])
def test_no_role_can_hold_up_the_refreshes(database_url: str, role: str) -> None:
    """Neither by an advisory lock, which anybody may take, nor by the row that says whose turn it is."""
    with psycopg.connect(make_conninfo(database_url, options=f"-c role={role}"), autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(hashtext('bankmirror read.refresh'))")
        for statement in (
            b"SELECT FROM read.refresh_turn FOR UPDATE",
            b"LOCK TABLE read.refresh_turn IN ACCESS SHARE MODE",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), holder.transaction():
                holder.execute(statement)

        with psycopg.connect(database_url, options="-c role=bankmirror_ingest") as connection:
            assert connection.execute("SELECT read.refresh()").fetchone() == (True,)
