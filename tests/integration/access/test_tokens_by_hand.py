"""`bankmirror token`, as it is typed and as it reads."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from typer.testing import CliRunner

from bankmirror import tokens as made_by_hand
from bankmirror.token import app
from bankmirror.tokens import TokenError, Wanted, lifetime_of
from kernel import tokens
from kernel.database import ACCESS, conninfo


@pytest.fixture
def mirrored(database_url: str) -> str:
    """A database that mirrors acct_1 and acct_2."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO snapshot.accounts (account_id, connection_id, name, type, currency, status)"
            " SELECT 'acct_' || n, 'default', 'An account', 'checking', 'USD', 'open' FROM generate_series(1, 2) AS n"
        )
    return database_url


def run(database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process and with nothing set but where the mirror is."""
    env = {**{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, "DATABASE_URL": database_url}
    command = [sys.executable, "-m", "bankmirror", "token", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=50, check=False)


def wanted(name: str = "agent", scopes: tuple[str, ...] = ("read",), **given: Any) -> Wanted:
    plain = {"accounts": None, "requests_per_minute": 600, "bytes_per_day": 1_000, "lifetime": timedelta(days=1)}
    return Wanted(name, scopes, **{**plain, **given})


async def make(database_url: str, asked: Wanted, *, unknown_too: bool = False) -> tokens.Token:
    async with await AsyncConnection.connect(conninfo(database_url, ACCESS)) as connection:
        return await made_by_hand.create(connection, "test", asked, actor="ann", unknown_too=unknown_too)


@pytest.fixture
def typed(mirrored: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command in this process, which is quicker; the log stays the test run's."""
    monkeypatch.setenv("DATABASE_URL", mirrored)
    monkeypatch.setattr("kernel.log.configure_log", lambda *_: None)
    return lambda *words: CliRunner().invoke(app, words)


def test_the_life_of_a_token(mirrored: str, typed: Callable[..., Any]) -> None:
    """Made, listed, exchanged, ended. What is printed alone is the token; nothing else ever shows it."""
    made = run(mirrored, "create", "till-agent", "--account", "acct_1", "--account", "acct_2", "--expires", "2w")
    assert made.returncode == 0, made.stderr
    token = tokens.parse(made.stdout.removesuffix("\n"))
    assert token is not None
    assert token.environment == "test"
    assert "till-agent" in made.stderr
    assert "read on 2 accounts, for 2w" in made.stderr
    assert token.text not in made.stderr

    listed = typed("list")
    assert re.search(rf"bmk_test_{token.token_id}…\s+till-agent\s+read\s+acct_1 acct_2\s.*\sgood", listed.stdout)
    assert token.text[17:] not in listed.stdout

    rotated = typed("rotate", "till-agent", "--overlap", "5m", "--by", "ann")
    second = tokens.parse(rotated.stdout.strip())
    assert second is not None
    assert f"({token.token_id}) is good for 5m more" in rotated.stderr
    (new, old) = json.loads(typed("list", "--json").stdout)
    assert (new["token_id"], new["state"], new["accounts"], new["principal"]) == (
        second.token_id, "good", ["acct_1", "acct_2"], token.token_id,
    )  # fmt: skip
    assert (old["token_id"], old["state"], old["replaced_by"]) == (token.token_id, "rotated", second.token_id)

    revoked = typed("revoke", "till-agent")
    assert revoked.stdout.count("revoked: ") == 2
    assert "no token is in use" in typed("list").stderr
    again = typed("revoke", "till-agent")
    assert (again.exit_code, "revoked already" in again.stderr) == (1, True)


def test_what_is_refused_is_said(typed: Callable[..., Any]) -> None:
    """In one line on standard error, and nothing on standard output for a script to take for a token."""
    for words, said in (
        (("create", "a", "--scope", "raed"), "raed: no such scope; there are admin, read, "),
        (("create", "a", "--scope", "read:memo", "--scope", "read", "--scope", "transfer:request"), "cannot be with"),
        (("create", "a", "--account", "acct_9", "--account", "acct_1"), "acct_9: not mirrored; .* --force"),
        (("create", "a", "--expires", "tomorrow"), "write a whole number above zero and its unit, as 30m"),
        (("create", "a", "--expires", "0d"), "0d: write a whole number above zero"),
        (("create", "a\nb"), "a name is of at most 100 letters"),
        (("create", "till agent"), "till agent: a name is of"),
        (("rotate", "nobody"), "there is no token nobody"),
        (("rotate", "nobody", "--overlap", "never"), "the old token must end"),
        (("revoke", "nobody"), "there is no token nobody"),
    ):
        refused = typed(*words)
        assert (refused.exit_code, refused.stdout) == (1, ""), words
        assert re.search(said, refused.stderr), refused.stderr


async def test_an_account_to_come(mirrored: str) -> None:
    """Only when it is said that the account need not be there yet."""
    with pytest.raises(TokenError, match="acct_9: not mirrored"):
        await make(mirrored, wanted(accounts=["acct_9"]))

    assert await make(mirrored, wanted(accounts=["acct_9"]), unknown_too=True)


async def test_a_name_that_is_taken(mirrored: str) -> None:
    """Until the token of that name is revoked; and no name may be another token's id."""
    first = await make(mirrored, wanted())
    for name in ("agent", first.token_id):
        with pytest.raises(TokenError, match="there is a token"):
            await make(mirrored, wanted(name))


async def test_rotating_keeps_what_a_token_is(mirrored: str) -> None:
    """Scopes, accounts and limits; and whose idempotency keys are meant, however often it is rotated."""
    async with await AsyncConnection.connect(conninfo(mirrored, ACCESS)) as connection:
        asked = wanted(scopes=("transfer:request", "read"), accounts=["acct_2"], requests_per_minute=7)
        first = await made_by_hand.create(connection, "live", asked, actor="ann", unknown_too=False)
        for _ in range(2):
            last, _ = await made_by_hand.rotate(
                connection, "agent", actor="bob", lifetime=None, overlap=timedelta(hours=1)
            )
        found = {row["token_id"]: row for row in await made_by_hand.select(connection)}

        with pytest.raises(TokenError, match="rotated already"):
            await made_by_hand.rotate(
                connection, first.token_id, actor="bob", lifetime=None, overlap=timedelta(hours=1)
            )

    row = found[last.token_id]
    assert last.environment == "live"
    assert (row["scopes"], row["accounts"], row["requests_per_minute"]) == (
        ["read", "transfer:request"], ["acct_2"], 7,
    )  # fmt: skip
    assert (row["principal"], row["expires_at"], row["created_by"]) == (first.token_id, None, "bob")
    assert [row["state"] for row in found.values()].count("good") == 1


async def test_a_rotated_token_does_not_live_longer_than_it_would_have(mirrored: str) -> None:
    """The overlap shortens its life, and never prolongs it."""
    async with await AsyncConnection.connect(conninfo(mirrored, ACCESS)) as connection:
        soon = wanted(lifetime=timedelta(minutes=5))
        first = await made_by_hand.create(connection, "test", soon, actor="ann", unknown_too=False)
        before = (await made_by_hand.select(connection, first.token_id))[0]["expires_at"]
        await made_by_hand.rotate(connection, "agent", actor="ann", lifetime=None, overlap=timedelta(hours=1))

        assert (await made_by_hand.select(connection, first.token_id))[0]["expires_at"] == before


def test_lengths_of_time() -> None:
    """As they are typed; never has to be said."""
    assert lifetime_of("90d") == timedelta(days=90)
    assert lifetime_of("30m") == timedelta(minutes=30)
    assert lifetime_of("never") is None
    for strange in ("", "90", "0d", "-1d", "1y", "1.5h", "d", "9999999d"):
        with pytest.raises(TokenError):
            lifetime_of(strange)
