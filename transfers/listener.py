"""One connection that hears the database's notifications, and who waits for them."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
import structlog
from psycopg import AsyncConnection

from transfers.metrics import Metrics

log = structlog.get_logger()

_RECONNECT_SECONDS = 1.0


class Waiters:
    """Those who wait for a transfer to move.

    They look by themselves now and then, should a notification be lost.
    """

    def __init__(self) -> None:
        self._events: dict[UUID, set[asyncio.Event]] = {}

    @contextmanager
    def watch(self, transfer_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set whenever the transfer moves."""
        event = asyncio.Event()
        events = self._events.setdefault(transfer_id, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._events.pop(transfer_id, None)

    def wake(self, transfer_id: UUID) -> None:
        for event in self._events.get(transfer_id, ()):
            event.set()

    def wake_all(self) -> None:
        for transfer_id in self._events:
            self.wake(transfer_id)


async def listen(
    conninfo: str, on_transfer: Callable[[UUID | None], None], on_mirror: Callable[[], None], metrics: Metrics
) -> None:
    """Report notifications for ever.

    After a gap, of which nobody knows what was missed, everyone is told: None.
    """
    while True:
        try:
            async with await AsyncConnection.connect(conninfo, autocommit=True) as connection:
                await connection.execute("LISTEN bankmirror_transfers")
                await connection.execute("LISTEN bankmirror_changed")
                metrics.listening.set(1)
                on_transfer(None)
                on_mirror()
                async for notification in connection.notifies():
                    if notification.channel == "bankmirror_changed":
                        on_mirror()
                    else:
                        on_transfer(_transfer_id(notification.payload))
        except psycopg.Error as error:
            log.warning("not listening to the database", error=type(error).__name__)
        metrics.listening.set(0)
        await asyncio.sleep(_RECONNECT_SECONDS)


def _transfer_id(payload: str) -> UUID | None:
    """Anyone in the database may notify; what is not an id only wakes everyone."""
    try:
        return UUID(payload)
    except ValueError:
        return None
