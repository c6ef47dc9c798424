"""Who asks, and whether they may: the door of the read API, and the scope that each of its paths needs."""

import asyncio
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
import structlog
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from kernel.access import Door, is_open
from kernel.caller import Caller, Scope
from kernel.database import Connection, Pool, read
from kernel.errors import Forbidden, Problem
from kernel.limits import Use
from kernel.passes import Pass, StoredToken
from kernel.problems import problem_response
from kernel.settings import HttpSettings
from readapi.store import QUERIES

__all__ = ["Access", "Pass", "RequireScope", "scope_needed"]

log = structlog.get_logger()

# What a caller must have for a path and all below it. A route that is neither open nor here keeps the process from
# starting: nothing is served because somebody forgot to say who may have it.
# The metrics count accounts and requests of everybody, whichever accounts a token names.
SCOPES: dict[str, Scope] = {"/banking": "read", "/metrics": "admin", "/mcp": "read"}
# A folder of files, each of which is open.
_STATIC = "/docs/static"
# Seconds between two rounds in which the tokens in use are looked up again: twice within the time that one look-up is
# good for, so that a holder waits for it only when a round failed.
RENEW_SECONDS = 1.5


class Access(Door):
    """The door with the database behind it, which is asked through the reader's pool."""

    def __init__(self, settings: HttpSettings, pool: Pool) -> None:
        super().__init__(self._select_tokens, settings)
        self._pool = pool
        self._worker = f"{os.getpid()}-{secrets.token_hex(4)}"
        # What is being told, under its number, until it is known to have been heard.
        self._tellings = 0
        self._telling: dict[str, Use] = {}

    async def run(self) -> None:
        """Keep what is known of the tokens in use sure, until cancelled."""
        while True:
            try:
                await self.renew()
            except (Problem, psycopg.Error) as error:
                # What is not renewed is not gone by for longer: its holder asks, and is told that the database is away.
                log.info("tokens were not looked up again", error=type(error).__name__)
            await asyncio.sleep(RENEW_SECONDS)

    async def stays(self, scope: Mapping[str, Any]) -> None:
        """Raise a Problem if who was let in with a request may be told no more: the token is good no longer, or its
        bytes are used up. What goes on for long asks this before each piece, which is mostly a look into a dictionary.
        """
        found = await self.identify(scope)
        if not found.has_bytes(time.monotonic()):
            raise found.over()

    async def tell_use(self, connection: Connection) -> None:
        """Tell the database what tokens have used, and learn what they have at other processes. `connection` is one
        that may write it. Raises psycopg.Error; what was not heard for sure is told again, under the same number.
        """
        if not self._telling:
            self._telling = {
                token_id: use
                for token_id, found in self.passes.items()
                if found.budget is not None and (use := found.budget.untold()) is not None
            }
            self._tellings += 1
        told = self._telling
        if not told:
            return
        minutes, requests, days, counts = zip(*told.values(), strict=True)
        columns = {"minutes": minutes, "requests": requests, "days": days, "bytes": counts}
        cursor = await connection.execute(
            QUERIES["use_spend"],
            {
                "worker": self._worker,
                "batch": self._tellings,
                "token_ids": list(told),
                **{name: list(values) for name, values in columns.items()},
            },
        )
        totals = await cursor.fetchall()
        self._telling = {}
        for token_id, *total in totals:
            found = self.passes.get(token_id)
            if found is not None and found.budget is not None:
                found.budget.learn(told[token_id], Use(*total))

    async def _select_tokens(self, token_ids: Sequence[str]) -> list[StoredToken]:
        async def work(connection: Connection) -> list[StoredToken]:
            cursor = await connection.execute(QUERIES["tokens_select"], {"token_ids": list(token_ids)}, prepare=True)
            return [StoredToken._make(row) for row in await cursor.fetchall()]

        return await read(self._pool, work)


class RequireScope:
    """ASGI middleware inside of the door: refuses callers who have not the scope that a path needs."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        """`routes` are those that `app` serves. Raises ValueError for one that nobody has said the scope of."""
        self.app = app
        for route in iter_route_contexts(routes):
            path = re.sub(r"\{\w+\}", "x", str(getattr(route, "path", route)))
            if not is_open(f"{path}/x" if path == _STATIC else path) and scope_needed(path) is None:
                raise ValueError(f"{path} has no scope: say in readapi.access.SCOPES who may have it")

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (needed := scope_needed(scope["path"])) is not None:
            # Set by the door. Who did not come through it is let in nowhere.
            caller: Caller = scope["bankmirror.caller"]
            if not caller.may(needed):
                refusal = problem_response(Forbidden(f"the token has not the scope {needed}", needs=needed))
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)


def scope_needed(path: str) -> Scope | None:
    """The scope that a path needs; None for one that is open, or that is none."""
    begins = "/" + path.split("/", 2)[1] if path.startswith("/") else path
    return SCOPES.get(begins)
