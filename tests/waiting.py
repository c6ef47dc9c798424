"""What tests need to wait for other processes: a limit that only a hang reaches, and ports of their own."""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

# Seconds. A wait ends as soon as what is waited for is there; the limit is for what never comes, and must be beyond
# what a loaded machine makes of a moment. What is waited for must last, or be on record: what comes and goes may have
# gone between two looks.
PATIENCE = 30.0

Seen = TypeVar("Seen")
# Below these the system does not choose ports for outgoing connections, on any system that we know.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """A port that nobody listens on, for a process that cannot choose one itself and say which.

    The system would hand out one that its next outgoing connection may take before the process listens. Here only
    another test could, if it drew the same number in the same moment.
    """
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


async def until(look: Callable[[], Awaitable[Seen]], seconds: float = PATIENCE, pause: float = 0.05) -> Seen:
    """What `look` finds, as soon as it is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110  # What happens in other processes sets no event here.
            await asyncio.sleep(pause)
        return found
