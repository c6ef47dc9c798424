"""Every grant is what docs/reference/roles.md says, and nothing else is granted."""

import re
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

TABLE = Path("docs/reference/roles.md")
LETTERS = {"INSERT": "a", "SELECT": "r", "UPDATE": "w", "DELETE": "d", "EXECUTE": "x"}

GRANTED = """
SELECT grantee::regrole::text, object, privilege_type, column_name
  FROM (SELECT oid::regclass::text AS object, (aclexplode(relacl)).*, NULL AS column_name, relowner AS owner
          FROM pg_class
         WHERE relkind IN ('r', 'v', 'm', 'p') AND relnamespace::regnamespace::text = ANY (%(schemas)s)
        UNION ALL
        SELECT attrelid::regclass::text, (aclexplode(attacl)).*, attname, relowner
          FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
         WHERE relnamespace::regnamespace::text = ANY (%(schemas)s)
        UNION ALL
        SELECT oid::regproc::text || '()', (aclexplode(coalesce(proacl, acldefault('f', proowner)))).*, NULL, proowner
          FROM pg_proc WHERE pronamespace::regnamespace::text = ANY (%(schemas)s)) AS granted
 WHERE grantee <> owner
"""
SCHEMAS = ["snapshot", "sync", "model", "read", "transfer", "audit", "access", "public"]


def documented() -> set[tuple[str, str, str]]:
    """(role, privileges, object) of every line of the table; objects are listed with commas."""
    rows = set()
    for line in TABLE.read_text().splitlines():
        if match := re.fullmatch(r"\| `(\w+)` \| `([arwdx]+)`(?: of `([\w, ]+)`)? \| (.+) \|", line):
            role, letters, columns, objects = match.groups()
            what = f"{letters}({columns})" if columns else letters
            rows |= {(role, what, name) for name in re.findall(r"`([^`]+)`", objects)}
    return rows


def granted(database_url: str) -> set[tuple[str, str, str]]:
    """The same of the catalog; `-` is PUBLIC."""
    whole: dict[tuple[str, str], str] = {}
    columns: dict[tuple[str, str, str], list[str]] = {}
    with psycopg.connect(database_url) as connection:
        for role, name, privilege, column in connection.execute(GRANTED, {"schemas": SCHEMAS}):
            if column is None:
                whole[role, name] = whole.get((role, name), "") + LETTERS.get(privilege, f"?{privilege}?")
            else:
                columns.setdefault((role, name, LETTERS[privilege]), []).append(column)
    rows = {(role, "".join(sorted(letters, key="arwdx".find)), name) for (role, name), letters in whole.items()}
    rows |= {(role, f"{letter}({', '.join(sorted(names))})", name) for (role, name, letter), names in columns.items()}
    return rows


def test_grants_are_what_the_table_says(database_url: str) -> None:
    """No right more and none less than documented."""
    assert granted(database_url) == documented()


@pytest.mark.parametrize(
    "grant",
    [
        "GRANT SELECT ON snapshot.transactions TO bankmirror_reader",
        "GRANT SELECT ON read.daily_cash_flow_stored TO bankmirror_reader",
        "GRANT EXECUTE ON FUNCTION audit.framed TO PUBLIC",
        "REVOKE SELECT ON read.balances FROM bankmirror_reader",
    ],
)
def test_another_grant_is_found(database_url: str, grant: str) -> None:
    """The check above can fail: one grant more, or one less, is a difference."""
    with psycopg.connect(database_url) as connection:
        connection.execute(grant)

    assert granted(database_url) != documented()


@pytest.mark.parametrize("role", ["bankmirror_reader", "bankmirror_ingest", "bankmirror_transfers"])
def test_no_role_can_write_the_read_model(database_url: str, role: str) -> None:
    """The read model has no writer but its owner, whatever a session sets (S4)."""
    with psycopg.connect(make_conninfo(database_url, options=f"-c role={role}"), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        for statement in (
            b"INSERT INTO read.refreshes (view_name) VALUES ('x')",
            b"DELETE FROM read.currencies",
            b"CREATE TABLE read.mine (a int)",
            b"CREATE TABLE public.mine (a int)",
            b"REFRESH MATERIALIZED VIEW read.daily_cash_flow_stored",
            b"DELETE FROM audit.events",
        ):
            with pytest.raises(psycopg.Error) as refused:
                connection.execute(statement)
            assert refused.value.sqlstate == "42501", statement


def test_the_audit_trail_is_only_ever_appended_to(database_url: str) -> None:
    """The role that moves money appends audit events through the one function, and can do nothing else to them."""
    with psycopg.connect(
        make_conninfo(database_url, options="-c role=bankmirror_transfers"), autocommit=True
    ) as connection:
        assert connection.execute("SELECT audit.append('a', 'b', 'c', '{}')").fetchone() == (1,)
        for statement in (
            b"INSERT INTO audit.events SELECT * FROM audit.events",
            b"UPDATE audit.events SET actor = 'me'",
            b"UPDATE audit.head SET seq = 0",
            b"TRUNCATE audit.events",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
