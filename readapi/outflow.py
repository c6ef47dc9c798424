"""An answer that leaves piece by piece, as fast as its reader takes it and no faster.

A piece is made when the one before was taken, so nothing gathers here, however slow the reader and however long the
answer. One who takes nothing for too long is cut off, and one who leaves ends what makes the pieces.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import structlog
from fastapi import Response
from starlette.types import Receive, Scope, Send

log = structlog.get_logger()

# Seconds that a reader may take for what is on the way: some 64 KiB in our buffer, and what the system holds.
TAKE_SECONDS = 30.0

Pieces = AsyncGenerator[bytes, None]


class BrokenOff(Exception):
    """The answer cannot be finished. It stops without its proper end, so that the server hangs up and nobody takes half
    of it for the whole.
    """


class Outflow(Response):
    """A response with a body of pieces, and what is held until it is over."""

    def __init__(
        self,
        pieces: Pieces,
        *,
        headers: dict[str, str],
        media_type: str,
        holding: AsyncExitStack | None = None,
        take_seconds: float = TAKE_SECONDS,
    ) -> None:
        super().__init__(None, 200, headers, media_type)
        # Nobody knows how long it gets.
        self.raw_headers = [item for item in self.raw_headers if item[0] != b"content-length"]
        self._pieces = pieces
        self._holding = holding or AsyncExitStack()
        self._take_seconds = take_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._holding:
            await self._pour(scope, receive, send)

    async def _pour(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pieces):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope.get("bankmirror.head"):
                await send({"type": "http.response.body", "body": b""})
                return
            sending = asyncio.create_task(self._send_all(send))
            leaving = asyncio.create_task(_wait_for_leave(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    await sending
                else:
                    log.info("client went away", path=scope["path"])
            except BrokenOff as error:
                log.warning("an answer was broken off", path=scope["path"], reason=str(error))
            finally:
                sending.cancel()
                leaving.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        async for piece in self._pieces:
            try:
                async with asyncio.timeout(self._take_seconds):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                raise BrokenOff("the client did not take it") from None
        await send({"type": "http.response.body", "body": b""})


async def _wait_for_leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
