"""The way in at `/mcp`: plain ASGI in front of the MCP server, which is made when the first agent comes.

Importing it takes most of a second of a core, and memory, that nobody should pay who has no agent. It runs in a thread,
so that other answers go out meanwhile.
"""

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import structlog
from starlette.types import Receive, Scope, Send

from kernel import errors
from kernel.problems import problem_response
from readapi.mcp.refusals import in_our_words

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

log = structlog.get_logger()

# Bytes of a message. Arguments are a few ids and a cursor.
MESSAGE_BYTES = 64 * 1024


class McpDoor:
    """ASGI application for the one path; `run` must run beside it."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._wanted = asyncio.Event()
        self._opened = asyncio.Event()
        self._manager: StreamableHTTPSessionManager | None = None
        self._versions: Sequence[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            # Messages go one way: there is no stream to listen to, and no session to end.
            await problem_response(errors.MethodNotAllowed(headers={"Allow": "POST"}))(scope, receive, send)
            return
        self._wanted.set()
        await self._opened.wait()
        if self._manager is None:
            raise errors.InternalError("the MCP server did not start; the log says why")
        await self._manager.handle_request(scope, receive, in_our_words(scope, receive, send, self._versions))

    async def run(self) -> None:
        """Make the server once somebody asks, and keep it until cancelled."""
        await self._wanted.wait()
        try:
            server = await asyncio.to_thread(import_module, "readapi.mcp.server")
            manager: StreamableHTTPSessionManager = server.make_manager(self._version, MESSAGE_BYTES)
            self._versions = server.VERSIONS
            async with manager.run():
                self._manager = manager
                self._opened.set()
                await asyncio.Event().wait()
        except Exception as error:
            log.error("the MCP server did not start", exc_info=error)
        finally:
            self._manager = None
            self._opened.set()
