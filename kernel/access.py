"""The door of an HTTP process: a bearer token, compared in constant time, before anything else is looked at."""

import hashlib
import hmac
import re

from starlette.types import ASGIApp, Receive, Scope, Send

from kernel.errors import Unauthenticated
from kernel.problems import problem_response

# These answer without a token: load balancers have none, whoever looks for the way in has none yet, and they say
# nothing about money. A name below a folder begins with a letter and has no slash, so no path leads out of one.
OPEN_PATHS = re.compile(
    r"/|/health|/ready|/openapi\.json|/docs|/docs/transfers/?|/docs/transfers/openapi\.json"
    r"|/docs/static/[a-z][a-z0-9.-]*|/problems|/problems/[a-z][a-z0-9-]*"
)


def is_open(path: str) -> bool:
    """Whether a path answers without a token."""
    return OPEN_PATHS.fullmatch(path) is not None


class RequireToken:
    """ASGI middleware that lets a request in only with `Authorization: Bearer <token>`."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._digest = hashlib.sha256(token.encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]) or self._is_known(scope):
            await self.app(scope, receive, send)
            return
        refusal = problem_response(Unauthenticated(headers={"WWW-Authenticate": "Bearer"}))
        await refusal(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(sent) != 1:
            return False
        scheme, _, token = sent[0].partition(b" ")
        # Hashing first makes both sides equally long, so that the comparison tells nothing about the length.
        known = hmac.compare_digest(hashlib.sha256(token.strip()).digest(), self._digest)
        return scheme.lower() == b"bearer" and known
