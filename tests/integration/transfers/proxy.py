"""A way to the database that breaks where a test wants it to: before a statement, after its commit, or in
between.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from psycopg.conninfo import conninfo_to_dict


class Cut(StrEnum):
    """Where the connection breaks around the statement that is waited for."""

    BEFORE = "before"  # the server never sees it
    BETWEEN = "between"  # the client sees rows and CommandComplete, but not that the server is ready again
    AFTER = "after"  # the server committed, the client sees nothing


class Proxy:
    """Speaks just enough of the protocol to know where messages end."""

    def __init__(self, database_url: str) -> None:
        self._server = conninfo_to_dict(database_url)
        self.port = 0
        self._armed: tuple[bytes, Cut] | None = None
        self.fired = asyncio.Event()
        self.is_down = False

    def url(self, database_url: str) -> str:
        """The database, by way of the proxy."""
        parts = urlsplit(database_url)
        user = self._server.get("user") or parts.username or "postgres"
        password = f":{parts.password}" if parts.password else ""
        name = self._server["dbname"]
        assert not set(parse_qs(parts.query)) - {"host", "port"}
        return f"postgresql://{user}{password}@127.0.0.1:{self.port}/{name}?sslmode=disable&gssencmode=disable"

    def cut(self, statement: bytes, where: Cut) -> None:
        """Break once, at the next statement that holds this text; after it only if it did something."""
        self._armed = (statement, where)

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        async with _closing(answer):
            if self.is_down:
                return
            server, ask = await self._connect()
            async with _closing(ask):
                state: dict[str, Cut | None] = {"cut": None}
                both = [
                    asyncio.create_task(self._to_server(client, ask, state)),
                    asyncio.create_task(self._to_client(server, answer, state)),
                ]
                try:
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in both:
                        task.cancel()
                    await asyncio.gather(*both, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = str(self._server.get("host") or "127.0.0.1"), int(self._server.get("port") or 5432)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _to_server(
        self, client: asyncio.StreamReader, ask: asyncio.StreamWriter, state: dict[str, Cut | None]
    ) -> None:
        prepared: dict[bytes, bytes] = {}
        with suppress(asyncio.IncompleteReadError, OSError):
            # The first message has no type byte.
            length = await client.readexactly(4)
            ask.write(length + await client.readexactly(struct.unpack("!I", length)[0] - 4))
            while True:
                head = await client.readexactly(5)
                body = await client.readexactly(struct.unpack("!I", head[1:])[0] - 4)
                text = b""
                if head[:1] == b"P":
                    name, text, *_ = body.split(b"\0")
                    prepared[name] = text
                elif head[:1] == b"B":
                    _portal, name, *_ = body.split(b"\0")
                    text = prepared.get(name, b"")
                if self._armed is not None and self._armed[0] in text:
                    state["cut"] = self._armed[1]
                if state["cut"] is Cut.BEFORE:
                    self._fire()
                    return
                ask.write(head + body)
                await ask.drain()

    async def _to_client(
        self, server: asyncio.StreamReader, answer: asyncio.StreamWriter, state: dict[str, Cut | None]
    ) -> None:
        held = b""
        has_rows = False
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await server.readexactly(5)
                message = head + await server.readexactly(struct.unpack("!I", head[1:])[0] - 4)
                has_rows = has_rows or head[:1] == b"D"
                if state["cut"] is not None and head[:1] == b"Z":
                    if has_rows and self._armed is not None:
                        self._fire()
                        return
                    state["cut"] = None
                if state["cut"] is Cut.AFTER:
                    held += message
                    continue
                answer.write(held + message)
                held = b""
                await answer.drain()
                if head[:1] == b"Z":
                    has_rows = False

    def _fire(self) -> None:
        self._armed = None
        self.fired.set()


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def open_proxy(database_url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(database_url)
    tasks: set[asyncio.Task[None]] = set()

    def accept(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(client, answer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        await listener.wait_closed()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
