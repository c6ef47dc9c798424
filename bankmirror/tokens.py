"""Tokens as the operator makes, lists and ends them: each function is one transaction on the connection it is given."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from bankmirror.store import QUERIES
from kernel import tokens
from kernel.database import Connection

_LIFETIME = re.compile(r"(?P<count>[1-9][0-9]{0,5})(?P<unit>[mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Row = dict[str, Any]


class TokenError(Exception):
    """What was asked for cannot be; the text says why, to whoever typed it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new token is to be. `lifetime` None: for ever, unless `until` says otherwise."""

    name: str
    scopes: Sequence[str]
    accounts: Sequence[str] | None
    requests_per_minute: int
    bytes_per_day: int
    lifetime: timedelta | None
    until: datetime | None = None


async def create(
    connection: Connection, environment: tokens.Environment, wanted: Wanted, *, actor: str, unknown_too: bool
) -> tokens.Token:
    """Make a token. Raises TokenError; for accounts that are not mirrored only unless `unknown_too`."""
    if wrong := tokens.what_is_wrong(wanted.scopes):
        raise TokenError(wrong)
    await _enter(connection, actor)
    if wanted.accounts is not None and not unknown_too:
        cursor = await connection.execute(QUERIES["accounts_missing"], {"account_ids": list(wanted.accounts)})
        if missing := [account_id for (account_id,) in await cursor.fetchall()]:
            raise TokenError(f"{', '.join(missing)}: not mirrored; for accounts that are still to come add --force")
    for found in await select(connection, wanted.name):
        if found["state"] in ("good", "expired") or found["token_id"] == wanted.name:
            raise TokenError(
                f"there is a token {wanted.name} ({found['token_id']}, {found['state']}); "
                f"`bankmirror token rotate {wanted.name}` exchanges it, `bankmirror token revoke {wanted.name}` ends it"
            )
    made = tokens.make(environment)
    await _insert(connection, made, wanted, principal=made.token_id, actor=actor)
    return made


async def rotate(
    connection: Connection, which: str, *, actor: str, lifetime: timedelta | None, overlap: timedelta
) -> tuple[tokens.Token, Row]:
    """Exchange a token for one with the same name, scopes, accounts and limits; the old one goes on for `overlap`.
    Returns the new one and what the old one was. Raises TokenError.
    """
    await _enter(connection, actor)
    old = (await _find(connection, which))[0]
    if old["revoked_at"] is not None or old["replaced_by"] is not None:
        raise TokenError(f"{old['name']} ({old['token_id']}) was {old['state']} already; make a new one instead")
    made = tokens.make(old["environment"])
    wanted = Wanted(
        old["name"], old["scopes"], old["accounts"], old["requests_per_minute"], old["bytes_per_day"], lifetime
    )
    # First the old one: both have one name, and only one of that name may be in use.
    await connection.execute(
        QUERIES["token_retire"],
        {"token_id": old["token_id"], "replaced_by": made.token_id, "overlap": overlap},
    )
    await _insert(connection, made, wanted, principal=old["principal"], actor=actor)
    return made, old


async def revoke(connection: Connection, which: str, *, actor: str) -> list[Row]:
    """End a token by its id, or all of a name: also one that was rotated and still goes on. Raises TokenError."""
    await _enter(connection, actor)
    ended = [found for found in await _find(connection, which) if found["state"] != "revoked"]
    if not ended:
        raise TokenError(f"{which} is revoked already")
    await connection.execute(QUERIES["tokens_revoke"], {"token_ids": [found["token_id"] for found in ended]})
    return ended


async def select(connection: Connection, which: str | None = None) -> list[Row]:
    """Tokens as `tokens_list` describes them: all, or those with this id or name."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(QUERIES["tokens_list"], {"which": which})
    return await cursor.fetchall()


def lifetime_of(text: str) -> timedelta | None:
    """How long `90d`, `12h`, `30m` or `2w` is; None for `never`. Raises TokenError."""
    if text == "never":
        return None
    if (parts := _LIFETIME.fullmatch(text)) is None:
        raise TokenError(f"{text}: write a whole number above zero and its unit, as 30m, 12h, 90d or 2w, or never")
    return timedelta(**{_UNITS[parts["unit"]]: int(parts["count"])})


def as_json(found: Sequence[Row]) -> str:
    """Tokens for machines. There is no secret to leave out: none is stored."""
    return json.dumps(found, indent=1, default=lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}")


async def _find(connection: Connection, which: str) -> list[Row]:
    found = await select(connection, which)
    # Somebody may have named a token like another one's id, which is then meant.
    found = [token for token in found if token["token_id"] == which] or found
    if not found:
        raise TokenError(f"there is no token {which}; `bankmirror token list` shows all")
    return found


async def _enter(connection: Connection, actor: str) -> None:
    await connection.execute(QUERIES["access_enter"], {"actor": actor})


async def _insert(connection: Connection, made: tokens.Token, wanted: Wanted, *, principal: str, actor: str) -> None:
    await connection.execute(
        QUERIES["token_insert"],
        {
            "token_id": made.token_id,
            "principal": principal,
            "name": wanted.name,
            "environment": made.environment,
            "digest": tokens.digest(made.text),
            "scopes": sorted(set(wanted.scopes)),
            "accounts": None if wanted.accounts is None else sorted(set(wanted.accounts)),
            "requests_per_minute": wanted.requests_per_minute,
            "bytes_per_day": wanted.bytes_per_day,
            "actor": actor,
            "lifetime": wanted.lifetime,
            "until": wanted.until,
        },
    )
