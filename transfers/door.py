"""Who may ask for transfers: the scope that each path needs, and whose transfers a caller sees."""

import time
from collections.abc import Awaitable, Callable, Sequence

import psycopg
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from kernel.access import Door, is_open
from kernel.caller import Caller, Scope
from kernel.database import translate_error
from kernel.errors import DatabaseUnavailable, Forbidden, NotFound, Problem
from kernel.passes import Pass, StoredToken
from kernel.problems import problem_response
from kernel.settings import HttpSettings

# What a path needs, by its first part. Anything else is none of ours. The metrics count what everybody asked for.
_SCOPES: dict[str, Scope] = {"banking": "transfer:request", "metrics": "admin"}
# Seconds between two audit events of one token that asks for what it may not: a program asks again and again.
_REFUSALS_SECONDS = 60.0

Refused = Callable[[str, Scope], Awaitable[None]]


class Guarded:
    """ASGI middleware that lets in who may. Each request is checked with the database: what moves money is not done on
    the strength of what was so a moment ago.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: HttpSettings,
        select: Callable[[Sequence[str]], Awaitable[Sequence[StoredToken]]],
        refused: Refused,
    ) -> None:
        """`refused` writes down who asked for what takes a scope that it has not."""
        self.app = app
        self._door = Door(select, settings, trust_seconds=0.0)
        self._refused = refused
        self._refused_at: dict[str | None, float] = {}

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        try:
            admitted = await self._admit(scope)
        except psycopg.Error as error:
            await problem_response(translate_error(error) or DatabaseUnavailable())(scope, receive, send)
            return
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *admitted.limit_headers()]
            await send(message)

        scope["bankmirror.caller"] = admitted.caller
        await self.app(scope, receive, send_on)

    async def _admit(self, scope: AsgiScope) -> Pass:
        found = await self._door.identify(scope)
        if not found.spend(time.monotonic()):
            raise found.over()
        needed = _SCOPES.get(scope["path"].lstrip("/").split("/", 1)[0])
        if needed is not None and not found.caller.may(needed):
            await self._note_refusal(found.caller, needed)
            raise Forbidden(f"the token has not the scope {needed}", needs=needed)
        return found

    async def _note_refusal(self, caller: Caller, needed: Scope) -> None:
        now = time.monotonic()
        if now >= self._refused_at.get(caller.token_id, 0.0) + _REFUSALS_SECONDS:
            self._refused_at = {
                token_id: at for token_id, at in self._refused_at.items() if now < at + _REFUSALS_SECONDS
            }
            self._refused_at[caller.token_id] = now
            await self._refused(caller.token_id or caller.name, needed)


def caller_of(request: Request) -> Caller:
    """Who sent a request. The door has said it; nobody is answered who did not come through it."""
    caller: Caller = request.scope["bankmirror.caller"]
    return caller


def sees(caller: Caller, account_id: str) -> bool:
    """Whether an account is one that the caller may know of."""
    return caller.accounts is None or account_id in caller.accounts


def require_sight(caller: Caller, account_id: str) -> None:
    """Raises NotFound, as for a transfer that does not exist, unless the caller may know of its account."""
    if not sees(caller, account_id):
        raise NotFound("no transfer has this id")
