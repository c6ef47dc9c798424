"""Tokens for tests, given out as an operator does."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from psycopg import AsyncConnection

from bankmirror import tokens as by_hand
from kernel import tokens
from kernel.database import ACCESS, conninfo


class Given(NamedTuple):
    """A token and how it is sent."""

    token: tokens.Token

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token.text}"}


async def give(
    database_url: str,
    *scopes: str,
    accounts: Sequence[str] | None = None,
    requests_per_minute: int = 1_000_000,
    bytes_per_day: int = 10**15,
    lifetime: timedelta | None = None,
) -> Given:
    """A token with these scopes, `read` if none is named; good for ever, without limits that a test could reach."""
    # Its name is of no importance, but that no two are the same.
    name = f"test {tokens.make('test').token_id}"
    wanted = by_hand.Wanted(name, scopes or ("read",), accounts, requests_per_minute, bytes_per_day, lifetime)
    async with await AsyncConnection.connect(conninfo(database_url, ACCESS)) as connection:
        return Given(await by_hand.create(connection, "test", wanted, actor="test", unknown_too=True))


async def rotate(database_url: str, given: Given) -> Given:
    """The token that it is exchanged for; the old one is good for another hour."""
    async with await AsyncConnection.connect(conninfo(database_url, ACCESS)) as connection:
        made, _ = await by_hand.rotate(
            connection, given.token.token_id, actor="test", lifetime=None, overlap=timedelta(hours=1)
        )
        return Given(made)


async def revoke(database_url: str, given: Given) -> None:
    """Take it back."""
    async with await AsyncConnection.connect(conninfo(database_url, ACCESS)) as connection:
        await by_hand.revoke(connection, given.token.token_id, actor="test")
