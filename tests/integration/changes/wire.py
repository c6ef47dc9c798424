"""The read API on a socket in this process: what streams cannot be asked over ASGI alone, which waits for the end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from kernel.http_server import Server, make_server
from readapi.app import create_app
from readapi.edge import Edge
from tests.integration.readapi.mirror import settings
from tests.waiting import PATIENCE, until


@dataclass
class Wire:
    """A server with its application, and a client of it."""

    app: Edge
    server: Server
    client: httpx.AsyncClient


@asynccontextmanager
async def on_the_wire(database_url: str, **given: Any) -> AsyncIterator[Wire]:
    """Serve on any port until the end of the block."""
    app = create_app(settings(database_url, **given))
    server = make_server(app, host="127.0.0.1", port=0, drain_seconds=5, catch_signals=False)
    serving = asyncio.create_task(server.serve())

    async def port() -> int:
        return int(server.servers[0].sockets[0].getsockname()[1]) if server.started else 0

    try:
        url = f"http://127.0.0.1:{await until(port)}"
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, trust_env=False) as client:
            yield Wire(app, server, client)
    finally:
        server.should_exit = True
        await serving


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    id: str | None
    data: Any
    # As it was sent.
    text: str


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """The events of a stream, without its comments, until it ends."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "event" in fields:
            yield Event(fields["event"], fields.get("id"), json.loads(fields["data"]), fields["data"])
            fields = {}
