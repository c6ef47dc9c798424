"""What the MCP server refuses, in words for whoever sent it: a problem document, or an error of JSON-RPC."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from kernel import errors
from kernel.problems import problem_response

# What it refuses in plain text, before it looks at JSON-RPC.
_REFUSALS: dict[int, type[errors.Problem]] = {
    HTTPStatus.BAD_REQUEST: errors.UnsupportedMediaType,
    HTTPStatus.NOT_ACCEPTABLE: errors.NotAcceptable,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: errors.PayloadTooLarge,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: errors.UnsupportedMediaType,
}
# Codes of JSON-RPC, and of MCP.
_INVALID_REQUEST, _INVALID_PARAMS, _UNSUPPORTED_VERSION = -32600, -32602, -32022
_ONE_MESSAGE = "send one JSON-RPC 2.0 request or notification, as an object; batches are not taken"


def in_our_words(scope: Scope, receive: Receive, send: Send, versions: Sequence[str]) -> Send:
    """Sends answers on as they are, and refusals in our words; `versions` of the protocol are spoken."""
    started: Message | None = None
    body = b""
    replaced = False

    async def send_on(message: Message) -> None:
        nonlocal started, body, replaced
        if message["type"] == "http.response.start":
            is_json = dict(message["headers"]).get(b"content-type", b"").startswith(b"application/json")
            if not is_json and (kind := _REFUSALS.get(message["status"])) is not None:
                replaced = True
                await problem_response(kind())(scope, receive, send)
            elif is_json and message["status"] == HTTPStatus.BAD_REQUEST:
                # Held back until all of it is here.
                started = message
                return
        elif started is not None:
            body += message.get("body", b"")
            if not message.get("more_body", False):
                refusal = _retold(json.loads(body), _version_of(scope), versions)
                await Response(refusal, HTTPStatus.BAD_REQUEST, media_type="application/json")(scope, receive, send)
            return
        if not replaced:
            await send(message)

    return send_on


def _retold(refusal: dict[str, Any], version: str | None, versions: Sequence[str]) -> bytes:
    error = refusal["error"]
    if version is not None and version not in versions and error["code"] in (_INVALID_PARAMS, _UNSUPPORTED_VERSION):
        error = {
            "code": _UNSUPPORTED_VERSION,
            "message": f"this version of MCP is not spoken here; there are {', '.join(versions)}",
            "data": {"supported": list(versions), "requested": version[:20]},
        }
    elif error["code"] == _INVALID_REQUEST or error["message"].startswith("Validation error"):
        # The server's own words are a dump of its types, with all that it was sent.
        error = {"code": _INVALID_REQUEST, "message": _ONE_MESSAGE}
    return json.dumps({**refusal, "error": error}, separators=(",", ":")).encode()


def _version_of(scope: Scope) -> str | None:
    found = dict(scope["headers"]).get(b"mcp-protocol-version")
    return None if found is None else found.decode("latin-1")
