"""The door of an HTTP process: who asks is found out before anything else is looked at.

A token that was found good is remembered for a few seconds, so that most requests cost a look into a dictionary. What
is no token at all is refused without asking the database; all other look-ups share one connection, however many callers
there are.
"""

import asyncio
import hashlib
import hmac
import itertools
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from kernel import tokens
from kernel.batch import Batch
from kernel.caller import ANONYMOUS, SCOPES, Caller
from kernel.errors import HostRefused, Problem, TooManyRequests, Unauthenticated
from kernel.failures import Failures, network_of
from kernel.limits import Budget
from kernel.passes import TRUST_SECONDS, Pass, StoredToken
from kernel.settings import HttpSettings, secret
from kernel.this_machine import means_this_machine

# These answer without a token: load balancers have none, whoever looks for the way in has none yet, and they say
# nothing about money. A name below a folder begins with a letter and has no slash, so no path leads out of one.
OPEN_PATHS = re.compile(
    r"/|/health|/ready|/openapi\.json|/llms\.txt|/docs/?|/docs/transfers/?|/docs/transfers/openapi\.json"
    r"|/docs/static/[a-z][a-z0-9.-]*|/problems/?|/problems/[a-z][a-z0-9-]*"
)
# The operator's static token may do everything, but it may move money, and so it reads no memos.
STATIC = Caller(None, "operator's token", SCOPES - {"read:memo"})
# Headers that are remembered; far more than there are tokens in use.
_REMEMBERED_MAX = 10_000
# Seconds between two look-ups for callers who failed often. They are looked up all the same: behind the address of one
# who guesses there may be others with good tokens.
_SUSPECTS_PAUSE_SECONDS = 0.05
# So many of these may wait; that takes less than a quarter of a second.
_SUSPECTS_MAX = 256
# Seconds after which a token that nobody has used is forgotten, with what it used: of that, the database knows.
_PASSES_SECONDS = 86_400.0
# A digest to compare with where there is no token, so that this takes no shorter.
_NO_DIGEST = bytes(32)

# Looks tokens up by their ids, in any order, leaving out those that do not exist. Raises psycopg.Error or a Problem.
Select = Callable[[Sequence[str]], Awaitable[Sequence[StoredToken]]]


def is_open(path: str) -> bool:
    """Whether a path answers without a token."""
    return OPEN_PATHS.fullmatch(path) is not None


class Door:
    """Knows who asks by the Authorization header."""

    def __init__(self, select: Select, settings: HttpSettings, *, trust_seconds: float = TRUST_SECONDS) -> None:
        """`trust_seconds`: how long a token is taken for good after it was looked up; 0: no longer than one request."""
        self._environment: tokens.Environment = "live" if settings.mode == "live" else "test"
        self._select = select
        self._trust_seconds = trust_seconds
        # A number is never given again: whoever keeps answers by it may still have some of a sight that is forgotten.
        self._sights: dict[tuple[Any, ...], int] = {}
        self._sight_numbers = itertools.count()
        self._anonymous = None if settings.needs_token else Pass(ANONYMOUS, self._scope_key(ANONYMOUS))
        self._static = Pass(STATIC, self._scope_key(STATIC))
        self._static_digest = None if settings.api_token is None else tokens.digest(secret(settings.api_token))
        # By the hash of the header, so that no secret lies about in memory; and by token id.
        self._known: dict[bytes, Pass] = {}
        self._passes: dict[str, Pass] = {}
        self._addresses, self._ids = Failures(), Failures()
        self._look_ups = Batch(self._look_up)
        self._suspects = Batch(self._look_up_slowly)

    def known(self, authorization: bytes | None) -> Pass | None:
        """Whose header this is, if that is known and sure. None: ask `identify`."""
        if authorization is None:
            return self._anonymous
        found = self._known.get(hashlib.sha256(authorization).digest())
        if found is None or time.monotonic() >= found.good_until:
            return None
        found.used = True
        return found

    async def identify(self, scope: Mapping[str, Any]) -> Pass:
        """Who sends a request, given its ASGI scope. Raises Unauthenticated, HostRefused, TooManyRequests, or what kept
        the database from answering.
        """
        sent = _all(scope, b"authorization")
        if not sent and self._anonymous is not None:
            if not means_this_machine(_all(scope, b"host"), _all(scope, b"origin")):
                raise HostRefused
            return self._anonymous
        if len(sent) != 1:
            raise _unauthenticated()
        (header,) = sent
        return self.known(header) or await self._verify(header, network_of((scope.get("client") or ("",))[0]))

    async def still(self, found: Pass, scope: Mapping[str, Any]) -> Pass:
        """Whom `identify` found is looked at again after a wait, before an answer leaves. Raises as `identify`."""
        if found.is_good():
            return found
        again = await self.identify(scope)
        if again.scope_key != found.scope_key:
            raise _unauthenticated()
        return again

    def forget(self, token_id: str | None) -> None:
        """What was known of a token, or (None) of all of them, is not sure any more."""
        for found in self._passes.values() if token_id is None else filter(None, [self._passes.get(token_id)]):
            found.good_until = 0.0

    async def renew(self) -> None:
        """Ask again for the tokens that were used since, so that no holder waits for it. Raises as `Select`."""
        used = [token_id for token_id, found in self._passes.items() if found.used]
        if not used:
            return
        asked_at = time.monotonic()
        stored = {token.token_id: token for token in await self._select(used)}
        for token_id in used:
            found, token = self._passes.get(token_id), stored.get(token_id)
            if found is None:
                continue
            found.used = False
            if token is not None and found.is_still(token) and _is_alive(token):
                found.confirm(token, asked_at, self._trust_seconds)
            else:
                found.good_until = 0.0

    @property
    def passes(self) -> Mapping[str, Pass]:
        """The tokens that were seen lately, by id."""
        return self._passes

    async def _verify(self, header: bytes, address: str | None) -> Pass:
        text = _bearer(header)
        token = None if text is None else tokens.parse(text)
        if text is not None and self._is_static(text):
            return self._remember(header, self._static)
        if text is None or token is None or token.environment != self._environment:
            raise self._failure(address)
        now = time.monotonic()
        is_suspect = self._addresses.wait_seconds(address, now) or self._ids.wait_seconds(token.token_id, now)
        if is_suspect and len(self._suspects) >= _SUSPECTS_MAX:
            raise TooManyRequests(retry_after_seconds=1)
        stored = await (self._suspects if is_suspect else self._look_ups).submit(token.token_id)
        is_right = hmac.compare_digest(tokens.digest(text), _NO_DIGEST if stored is None else stored.digest)
        if stored is None or not is_right or stored.environment != self._environment or not _is_alive(stored):
            raise self._failure(address, token.token_id)
        return self._remember(header, self._admit(stored, now))

    def _admit(self, stored: StoredToken, asked_at: float) -> Pass:
        found = self._passes.get(stored.token_id)
        if found is None or not found.is_still(stored):
            accounts = None if stored.accounts is None else tuple(sorted(set(stored.accounts)))
            caller = Caller(stored.token_id, stored.name, frozenset(stored.scopes), accounts, stored.principal)
            # What was used is used, whatever else changed.
            budget = found.budget if found else Budget(stored.requests_per_minute, stored.bytes_per_day)
            if found is not None:
                found.good_until = 0.0
            self._forget_unused(asked_at)
            found = Pass(caller, self._scope_key(caller), stored, budget)
            self._passes[stored.token_id] = found
        found.confirm(stored, asked_at, self._trust_seconds)
        return found

    def _remember(self, header: bytes, found: Pass) -> Pass:
        found.used = True
        digest = hashlib.sha256(header).digest()
        if len(self._known) >= _REMEMBERED_MAX and digest not in self._known:
            self._known.pop(next(iter(self._known)))
        self._known[digest] = found
        return found

    def _forget_unused(self, now: float) -> None:
        past = now - _PASSES_SECONDS
        if all(found.confirmed_at > past for found in self._passes.values()):
            return
        self._passes = {token_id: found for token_id, found in self._passes.items() if found.confirmed_at > past}
        lasting = [self._static, *([self._anonymous] if self._anonymous else []), *self._passes.values()]
        in_use = {found.scope_key for found in lasting}
        self._sights = {sight: number for sight, number in self._sights.items() if number in in_use}

    def _is_static(self, text: str) -> bool:
        # Digests are equally long, so that the comparison tells nothing about the length.
        return self._static_digest is not None and hmac.compare_digest(tokens.digest(text), self._static_digest)

    def _scope_key(self, caller: Caller) -> int:
        # A number for each sight there is: unlike a hash, it is never the same for two. Every scope that a path may
        # need is in it, because what is kept for one caller is given to another without asking again.
        sight = (caller.accounts, caller.may("read"), caller.may("read:memo"), caller.may("recon"), caller.may("admin"))
        return self._sights.setdefault(sight, next(self._sight_numbers))

    def _failure(self, address: str | None, token_id: str | None = None) -> Problem:
        now = time.monotonic()
        self._addresses.note(address, now)
        wait = self._addresses.wait_seconds(address, now)
        if token_id is not None:
            self._ids.note(token_id, now)
            wait = max(wait, self._ids.wait_seconds(token_id, now))
        return TooManyRequests(retry_after_seconds=int(wait) + 1) if wait else _unauthenticated()

    async def _look_up(self, token_ids: Sequence[str]) -> Sequence[StoredToken | None]:
        stored = {token.token_id: token for token in await self._select(sorted(set(token_ids)))}
        return [stored.get(token_id) for token_id in token_ids]

    async def _look_up_slowly(self, token_ids: Sequence[str]) -> Sequence[StoredToken | None]:
        found = await self._look_up(token_ids)
        await asyncio.sleep(_SUSPECTS_PAUSE_SECONDS)
        return found


def _all(scope: Mapping[str, Any], name: bytes) -> list[bytes]:
    return [value for given, value in scope["headers"] if given == name]


def _bearer(header: bytes) -> str | None:
    """The token in an Authorization header; None where there is none."""
    scheme, _, token = header.partition(b" ")
    try:
        return token.decode("ascii") if scheme.lower() == b"bearer" else None
    except UnicodeDecodeError:
        return None


def _is_alive(stored: StoredToken) -> bool:
    return not stored.revoked and (stored.expires_in is None or stored.expires_in > 0)


def _unauthenticated() -> Problem:
    return Unauthenticated(headers={"WWW-Authenticate": "Bearer"})
