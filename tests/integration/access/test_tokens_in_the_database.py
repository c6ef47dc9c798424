"""The database keeps the rules of tokens itself: whoever writes there, and by whatever means."""

import itertools
import json
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from kernel import tokens
from kernel.database import ACCESS, conninfo

Rows = list[dict[str, Any]]


def execute(database_url: str, statement: str, *parameters: object, role: bool = True) -> Rows:
    """Run a statement in the role that gives out tokens, or as the owner."""
    url = conninfo(database_url, ACCESS) if role else database_url
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def insert(database_url: str, *, role: bool = True, **row: Any) -> str:
    """A token; what is not given is unremarkable. Returns its id."""
    made = tokens.make("test")
    whole = {
        "token_id": made.token_id, "principal": made.token_id, "name": f"agent {made.token_id}", "environment": "test",
        "digest": tokens.digest(made.text), "scopes": ["read"], **row,
    }  # fmt: skip
    places = ", ".join(["%s"] * len(whole))
    execute(
        database_url, f"INSERT INTO access.tokens ({', '.join(whole)}) VALUES ({places})", *whole.values(), role=role
    )
    return made.token_id


MEMOS_AND_MONEY = [["read", "read:memo", "transfer:request"], ["read", "read:memo", "transfer:approve"]]


def test_scopes_that_no_token_may_have(database_url: str) -> None:
    """Who reads what strangers write moves no money: not even the owner can make such a token."""
    for scopes in (*MEMOS_AND_MONEY, ["read:memo"], [], ["everything"], ["read", None]):
        for role in (True, False):
            with pytest.raises(psycopg.errors.CheckViolation):
                insert(database_url, scopes=scopes, role=role)


def test_control_without_the_constraint_it_could(database_url: str) -> None:
    """It is the constraint that holds above, and nothing else."""
    execute(database_url, "ALTER TABLE access.tokens DROP CONSTRAINT memos_and_money_apart", role=False)

    insert(database_url, scopes=MEMOS_AND_MONEY[0])


def test_what_would_not_mean_what_it_says(database_url: str) -> None:
    """No accounts is not all accounts; a limit of nothing is none."""
    strange: list[dict[str, Any]] = [
        {"accounts": []},
        {"accounts": ["a", None]},
        {"digest": b"short"},
        {"name": ""},
        {"environment": "prod"},
        {"requests_per_minute": 0},
        {"bytes_per_day": 0},
        {"token_id": "short"},
    ]
    for row in strange:
        with pytest.raises(psycopg.errors.CheckViolation):
            insert(database_url, **row)


def test_a_token_never_changes(database_url: str) -> None:
    """What its holder was told stays true: the role that gives out tokens can only end them."""
    insert(database_url, accounts=["a"])

    for change in (
        "scopes = ARRAY['admin']",
        "accounts = NULL",
        "digest = decode(repeat('00', 32), 'hex')",
        "requests_per_minute = 1000000",
        "name = 'other'",
        "principal = 'aaaaaaaa'",
        "environment = 'live'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(database_url, f"UPDATE access.tokens SET {change}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(database_url, "DELETE FROM access.tokens")


def test_not_even_the_owner_changes_what_a_token_may_do(database_url: str) -> None:
    """Other scopes or accounts are another token; and all of them do not vanish at once."""
    insert(database_url, accounts=["a"])

    for statement in (
        "UPDATE access.tokens SET scopes = ARRAY['admin']",
        "UPDATE access.tokens SET accounts = NULL",
        "UPDATE access.tokens SET bytes_per_day = bytes_per_day + 1, revoked_at = now()",
        "TRUNCATE access.tokens CASCADE",
    ):
        with pytest.raises(psycopg.errors.CheckViolation):
            execute(database_url, statement, role=False)


def test_an_end_is_not_taken_back(database_url: str) -> None:
    """Revoked is revoked, and no token is prolonged, by nobody."""
    token_id = insert(database_url, expires_at="2030-01-01")
    update = "UPDATE access.tokens SET {} WHERE token_id = %s"
    execute(database_url, update.format("revoked_at = now()"), token_id)
    for role in (True, False):
        for change in ("revoked_at = NULL", "expires_at = '2031-01-01'", "expires_at = NULL"):
            with pytest.raises(psycopg.errors.CheckViolation):
                execute(database_url, update.format(change), token_id, role=role)
    execute(database_url, update.format("expires_at = '2029-01-01'"), token_id)


def test_one_name_one_token_in_use(database_url: str) -> None:
    """So that a name always means one of them."""
    first = insert(database_url, name="agent")
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(database_url, name="agent")

    execute(database_url, "UPDATE access.tokens SET revoked_at = now() WHERE token_id = %s", first)

    insert(database_url, name="agent")


def test_every_change_is_in_the_audit_chain_and_told(database_url: str) -> None:
    """Also one by hand, in SQL: a trigger writes it, without the digest."""
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN bankmirror_access")
        token_id = insert(database_url, name="agent", accounts=["acct_1"])
        execute(database_url, "UPDATE access.tokens SET revoked_at = now()", role=False)
        execute(database_url, "DELETE FROM access.tokens", role=False)
        heard = [notice.payload for notice in listener.notifies(timeout=20, stop_after=3)]

    events = execute(database_url, "SELECT action, subject, payload, actor FROM audit.events ORDER BY seq", role=False)
    assert heard == [token_id, token_id, token_id]
    assert [(event["action"], event["subject"]) for event in events] == [
        ("token.created", f"token:{token_id}"),
        ("token.revoked", f"token:{token_id}"),
        ("token.deleted", f"token:{token_id}"),
    ]
    assert events[0]["payload"]["accounts"] == ["acct_1"]
    assert events[0]["actor"]
    assert "digest" not in json.dumps([event["payload"] for event in events])


def test_nobody_else_reaches_the_tokens(database_url: str) -> None:
    """A door asks for one token by its id; it can neither list nor change them."""
    token_id = insert(database_url)
    for role in ("bankmirror_reader", "bankmirror_transfers", "bankmirror_ingest"):
        with psycopg.connect(database_url, options=f"-c role={role}", autocommit=True) as connection:
            for statement in (
                "SELECT * FROM access.tokens",
                "UPDATE access.tokens SET revoked_at = NULL",
                "INSERT INTO access.tokens (token_id) VALUES ('aaaaaaaa')",
                "SELECT * FROM access.usage",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
            if role != "bankmirror_ingest":
                found = connection.execute("SELECT name FROM access.token(%s)", [token_id]).fetchall()
                assert found == [(f"agent {token_id}",)]


def test_a_door_is_told_how_long_a_token_lives(database_url: str) -> None:
    """In seconds by the clock of the database, which decides; for ever is null, however it is written."""
    look = "SELECT expires_in FROM access.token(%s)"
    for expires_at, least, most in ((timedelta(minutes=5), 250, 300), (timedelta(minutes=-5), -350, -300)):
        token_id = insert(database_url)
        execute(
            database_url, "UPDATE access.tokens SET expires_at = now() + %s WHERE token_id = %s", expires_at, token_id
        )
        (row,) = execute(database_url, look, token_id, role=False)
        assert least < row["expires_in"] <= most
    for never in (None, "infinity"):
        (row,) = execute(database_url, look, insert(database_url, expires_at=never), role=False)
        assert row["expires_in"] is None


SPEND = "SELECT * FROM access.spend('worker', %s, %s, %s, %s, %s, %s) ORDER BY token_id"


def test_use_is_added_up_over_processes(database_url: str) -> None:
    """In one window; a later one begins anew, an earlier one changes nothing; what is no token is left out."""
    one, other = sorted((insert(database_url), insert(database_url)))
    numbers = itertools.count(1)

    def spend(*told: tuple[str, int, int, int, int], number: int | None = None) -> list[tuple[Any, ...]]:
        columns = [list(column) for column in zip(*told, strict=True)]
        number = next(numbers) if number is None else number
        return [tuple(row.values()) for row in execute(database_url, SPEND, number, *columns, role=False)]

    assert spend((other, 10, 2, 1, 100), (one, 10, 3, 1, 50)) == [(one, 10, 3, 1, 50), (other, 10, 2, 1, 100)]
    assert spend((one, 10, 4, 1, 50)) == [(one, 10, 7, 1, 100)]
    assert spend((one, 10, 4, 1, 50), number=2) == [(one, 10, 7, 1, 100)]
    assert spend((one, 11, 1, 1, 50)) == [(one, 11, 1, 1, 150)]
    assert spend((one, 10, 9, 1, 0)) == [(one, 11, 1, 1, 150)]
    assert spend((one, 1451, 0, 2, 5)) == [(one, 1451, 0, 2, 5)]
    assert spend(("nobody00", 10, 2, 1, 100)) == []
