"""Puts a reply on the wire: the only place of chaos that does anything."""

import asyncio
import os
import socket
import struct
from contextlib import suppress
from typing import Any, Final, assert_never

from starlette.types import Receive, Send

from sandbox.chaos.acts import Ending, Reply

# Linger for no time at all: what closes sends RST and not FIN.
_ABRUPTLY: Final = struct.pack("ii", 1, 0)


async def put(reply: Reply, receive: Receive, send: Send) -> None:
    """Send a reply as it describes itself, and stop when the client has left."""
    left = asyncio.create_task(_left(receive))
    try:
        if await _is_left(left, reply.wait_seconds):
            return
        if reply.status is not None:
            await send({"type": "http.response.start", "status": reply.status, "headers": _headers(reply)})
            for piece in reply.pieces:
                if await _is_left(left, reply.pause_seconds):
                    return
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        match reply.ending:
            case Ending.KEPT:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            case Ending.CLOSED | Ending.RESET:
                _end(receive, reply.ending)
                await left
            case _:
                assert_never(reply.ending)
    finally:
        left.cancel()
        with suppress(asyncio.CancelledError):
            await left


def _headers(reply: Reply) -> list[tuple[bytes, bytes]]:
    told = [] if reply.length is None else [("content-length", str(reply.length))]
    kept = [header for header in reply.headers if header[0].lower() != "content-length"]
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (*kept, *told)]


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _is_left(left: asyncio.Task[None], seconds: float) -> bool:
    # Even without a pause the loop gets its turn, so that a long answer holds nobody else up.
    await asyncio.wait({left}, timeout=seconds)
    return left.done()


def _end(receive: Receive, ending: Ending) -> None:
    """Close the connection under the server. ASGI has no word for it; uvicorn's `receive` belongs to who has it."""
    transport: Any = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("chaos breaks a connection, and here is none: serve the bank on a socket")
    if ending is Ending.RESET:
        # The option belongs to the connection, whichever descriptor it is set through.
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPTLY)
        transport.abort()
    else:
        transport.close()
