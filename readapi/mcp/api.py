"""Our own REST API, asked from inside of this process on behalf of whoever sent an MCP request."""

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from starlette.types import ASGIApp, Message, Scope

from readapi.answers import FRESHNESS_HEADERS
from readapi.receipts import Receipts

# Headers of the MCP request that say who asks; the others are between the agent and the MCP server.
_OF_THE_CALLER = frozenset({b"authorization", b"host"})
# What belongs to the connection. Above all not who the caller is: the door finds that out again by the header.
_OF_THE_CONNECTION = ("type", "asgi", "http_version", "scheme", "server", "client", "root_path")
Value = str | int | bool | date | None


class Refused(Exception):
    """The API answered with a problem, which is here as its document (RFC 9457)."""

    def __init__(self, problem: Mapping[str, Any], retry_after_seconds: str | None) -> None:
        super().__init__(problem.get("title"))
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds


class Answered(NamedTuple):
    """An answer's envelope, decoded. Its numbers are integers: the API has no others."""

    data: Any
    freshness: dict[str, Any]
    next_cursor: str | None
    # Of changes, which have a cursor on their last page as well.
    has_more: bool = False

    @property
    def age_seconds(self) -> int | None:
        """Since the bank last confirmed it; None where it never was, or at a moment of the past."""
        synced_at = self.freshness["synced_at"]
        if synced_at is None:
            return None
        return max(0, int((datetime.now(UTC) - datetime.fromisoformat(synced_at)).total_seconds()))


class Api:
    """Sends GET requests into the whole application that the MCP request itself came through."""

    def __init__(self, asking: Scope) -> None:
        self._asking = asking
        self._app: ASGIApp = asking["app"].state.edge
        self._receipts: Receipts = asking["app"].state.receipts

    async def get(self, *path: str, **query: Value) -> Answered:
        """The answer at a path, given in its parts; a query parameter that is None is not sent. Raises Refused."""
        status, headers, body = await self._send(*path, **query)
        document = json.loads(body)
        if status != 200:
            raise Refused(document, headers.get(b"retry-after", b"").decode() or None)
        if isinstance(document, list):
            # `activity` is a bare list, with its freshness in headers.
            said = {name: headers.get(header.lower().encode()) for header, name in FRESHNESS_HEADERS.items()}
            return Answered(document, {name: value and value.decode() for name, value in said.items()}, None)
        return Answered(
            document["data"], document["freshness"], document["next_cursor"], document.get("has_more", False)
        )

    def note(self, target: str, told: str) -> None:
        """Leave a receipt of what the caller is told, which no version of the mirror stands for alone."""
        told_hash = hashlib.sha256(told.encode()).digest()
        self._receipts.note(self._asking["bankmirror.caller"], target.encode(), 200, told_hash, "", time.time())

    async def _send(self, *path: str, **query: Value) -> tuple[int, dict[bytes, bytes], bytes]:
        target = "/" + "/".join(path)
        asked = {name: _text(value) for name, value in query.items() if value is not None}
        scope: Scope = {
            **{name: self._asking[name] for name in _OF_THE_CONNECTION if name in self._asking},
            "method": "GET",
            "path": target,
            "raw_path": "/".join(["", *(quote(part, safe="") for part in path)]).encode(),
            "query_string": urlencode(asked).encode(),
            "headers": [
                (b"accept", b"application/json"),
                *(header for header in self._asking["headers"] if header[0] in _OF_THE_CALLER),
            ],
        }
        status = 0
        headers: dict[bytes, bytes] = {}
        body = b""

        async def send(message: Message) -> None:
            nonlocal status, headers, body
            if message["type"] == "http.response.start":
                status, headers = message["status"], dict(message["headers"])
            else:
                body += message.get("body", b"")

        try:
            await self._app(scope, _Nothing(), send)
        except Exception:
            # What broke was answered with a problem and is in the log; it is raised besides, for servers.
            if not status:
                raise
        return status, headers, body


class _Nothing:
    """The body of a request that has none, from a client that stays."""

    def __init__(self) -> None:
        self._sent = False

    async def __call__(self) -> Message:
        if self._sent:
            await asyncio.Event().wait()
        self._sent = True
        return {"type": "http.request", "body": b"", "more_body": False}


def _text(value: str | int | bool | date) -> str:
    if isinstance(value, date):  # Or a moment, which is one.
        return value.isoformat()
    return str(value).lower() if isinstance(value, bool) else str(value)
