"""An answer that leaves piece by piece: as fast as it is taken, and never half of it for the whole."""

import asyncio
from contextlib import AsyncExitStack

from starlette.types import Message

from readapi.outflow import BrokenOff, Outflow, Pieces

SCOPE = {"type": "http", "path": "/banking/transactions"}


class Reader:
    """A client that takes some messages, and then leaves or takes nothing any more."""

    def __init__(self, takes: int, *, leaves: bool = False) -> None:
        self.messages: list[Message] = []
        self._takes, self._leaves = takes, leaves
        self._gone = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Take a message, if it takes any."""
        if len(self.messages) == self._takes:
            if self._leaves:
                self._gone.set()
            await asyncio.Event().wait()
        self.messages.append(message)

    async def receive(self) -> Message:
        """Say that it left, once it did."""
        await self._gone.wait()
        return {"type": "http.disconnect"}

    @property
    def is_whole(self) -> bool:
        """Whether the answer had its proper end."""
        return self.messages[-1] == {"type": "http.response.body", "body": b""}


class Source:
    """Makes pieces, and knows how many, and whether it was closed."""

    def __init__(self, count: int) -> None:
        self.made = 0
        self.closed = 0
        self._count = count

    async def pieces(self) -> Pieces:
        """As many as were said; then it breaks if there were none to make."""
        try:
            for _ in range(self._count):
                self.made += 1
                yield b"piece"
            if self._count < 5:
                raise BrokenOff("there is no more")
        finally:
            self.closed += 1


async def pour(source: Source, reader: Reader, take_seconds: float = 30.0) -> list[str]:
    """Have the answer sent; what was held is told when it is let go."""
    let_go: list[str] = []
    holding = AsyncExitStack()
    holding.callback(let_go.append, "let go")
    answer = Outflow(source.pieces(), headers={}, media_type="text/csv", holding=holding, take_seconds=take_seconds)
    await answer(dict(SCOPE), reader.receive, reader.send)
    return let_go


async def test_all_of_it() -> None:
    """The pieces, and the end."""
    source, reader = Source(5), Reader(100)
    assert await pour(source, reader) == ["let go"]
    assert [message.get("body") for message in reader.messages[1:]] == [b"piece"] * 5 + [b""]
    assert reader.is_whole


async def test_one_who_takes_nothing_is_cut_off() -> None:
    """Nothing is made ahead of what was taken, and what was taken is not the whole."""
    source, reader = Source(1_000), Reader(3)
    assert await pour(source, reader, take_seconds=0.05) == ["let go"]
    assert (source.made, source.closed, reader.is_whole) == (3, 1, False)


async def test_one_who_leaves() -> None:
    """It ends, and so does what made the pieces."""
    source, reader = Source(1_000), Reader(3, leaves=True)
    assert await pour(source, reader) == ["let go"]
    assert (source.made, source.closed, reader.is_whole) == (3, 1, False)


async def test_what_breaks_has_no_end() -> None:
    """An error amid the pieces is no end of them."""
    source, reader = Source(2), Reader(100)
    assert await pour(source, reader) == ["let go"]
    assert (source.closed, reader.is_whole) == (1, False)
