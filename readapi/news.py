"""What the database tells the read API: which answers are no longer true, which tokens changed, and that it is heard.

One connection listens. Each second a question is sent on it and its answer awaited: the server hands over what it has
to tell before it answers. Only that makes silence mean that nothing changed, and `trusted_until` says how long it does.
PostgreSQL signals listeners just after a commit can be seen: for milliseconds a change can be read and is not heard of,
so an answer may miss what was committed milliseconds before. What it says of its age is true all the same.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

import psycopg
import structlog
from psycopg import AsyncConnection, Notify

from kernel.database import READER, Connection, conninfo

log = structlog.get_logger()

# Something changed: {"accounts": [...]}, null for all, or {"view": "..."} for a view that was refreshed.
CHANGED_CHANNEL = "bankmirror_changed"
# A transfer of ours moved: the same for the accounts that it is shown with.
MOVED_CHANNEL = "bankmirror_moved"
# A poll ended and found nothing new: the same. What is kept stays true, and whoever waits for a poll may go on.
CONFIRMED_CHANNEL = "bankmirror_confirmed"
# A token was made, changed or revoked: its id.
ACCESS_CHANNEL = "bankmirror_access"
_LISTEN = "; ".join(
    f"LISTEN {channel}" for channel in (CHANGED_CHANNEL, MOVED_CHANNEL, CONFIRMED_CHANNEL, ACCESS_CHANNEL)
)
# Seconds between two heartbeats, and that one may take. A database that is up answers in a millisecond.
HEARTBEAT_SECONDS = 1.0
HEARTBEAT_LIMIT_SECONDS = 2.0
# Seconds that silence is trusted after a heartbeat began: a few may come late on a busy machine. A revoked token is
# refused within these, whatever breaks.
TRUST_SECONDS = 5.0
# Seconds before the listener connects again. Until then every answer comes from the database.
RECONNECT_SECONDS = 0.5

Heard = Callable[[frozenset[str] | None], None]


def view_topic(view: str) -> str:
    """The name that a view goes by among accounts; no account has it, since an id holds no NUL."""
    return f"\0view {view}"


class News:
    """Hears the database, and tells those who keep answers or wait for a poll."""

    def __init__(self, database_url: str) -> None:
        # By the clock of the event loop. Until then, silence means that nothing changed; 0.0: it means nothing.
        self.trusted_until = 0.0
        self._conninfo = conninfo(database_url, READER)
        self._subscribers: list[Heard] = []
        self._token_subscribers: list[Callable[[str | None], None]] = []
        self._watches: set[Watch] = set()

    def subscribe(self, callback: Heard) -> None:
        """Have the accounts (or view_topics) told whose answers changed; None: any, or nobody knows what was missed."""
        self._subscribers.append(callback)

    def subscribe_tokens(self, callback: Callable[[str | None], None]) -> None:
        """Have the ids of tokens told that changed; None: any, or nobody knows what was missed."""
        self._token_subscribers.append(callback)

    @contextmanager
    def watch(self, accounts: frozenset[str] | None) -> "Iterator[Watch]":
        """Note from now on whether these accounts (None: any) are heard of. Begun before a question is asked, it misses
        nothing that comes after.
        """
        watch = Watch(accounts)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    async def wait(self, accounts: frozenset[str] | None, seconds: float) -> bool:
        """Whether something is heard about one of these accounts (None: any) within so many seconds."""
        with self.watch(accounts) as watch:
            return await watch.heard(seconds)

    async def run(self) -> None:
        """Listen until cancelled, on a connection that is made again when it is lost."""
        while True:
            try:
                async with self._listening() as connection:
                    await self._hear_for_ever(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("the database is not heard, no answer is kept", error=type(error).__name__)
            except Exception:
                # A subscriber failed, and may still hold what it was told to drop. All are told again.
                log.exception("what was heard could not be told")
            _leave_if_cancelled()
            await asyncio.sleep(RECONNECT_SECONDS)

    @asynccontextmanager
    async def _listening(self) -> "AsyncIterator[Connection]":
        """A connection on which nothing is missed from here on. Before and after it everybody is told that something
        may have been.
        """
        async with await AsyncConnection.connect(self._conninfo, autocommit=True) as connection:
            # One message for all, which is as it must be: heard together or not at all.
            await connection.execute(_LISTEN)
            self._tell_all()
            try:
                yield connection
            finally:
                self.trusted_until = 0.0
                self._tell_all()

    async def _hear_for_ever(self, connection: Connection) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await self._beat(connection)
            # From the beginning: the server may have answered at once, and we may have been asleep since.
            self.trusted_until = began + TRUST_SECONDS
            # What came with the heartbeat is handed out first: the driver keeps it for this.
            async with aclosing(connection.notifies(timeout=HEARTBEAT_SECONDS)) as notices:
                async for notice in notices:
                    self._hear(notice)
            _leave_if_cancelled()

    async def _beat(self, connection: Connection) -> None:
        async with asyncio.timeout(HEARTBEAT_LIMIT_SECONDS):
            await connection.execute("SELECT 1")

    def _hear(self, notice: Notify) -> None:
        if notice.channel == ACCESS_CHANNEL:
            for tell in self._token_subscribers:
                tell(notice.payload or None)
        else:
            self._tell(_subjects(notice.payload), changed=notice.channel != CONFIRMED_CHANNEL)

    def _tell(self, subjects: frozenset[str] | None, *, changed: bool) -> None:
        if changed:
            for tell in self._subscribers:
                tell(subjects)
        for watch in self._watches:
            watch.add(subjects)

    def _tell_all(self) -> None:
        for tell in self._token_subscribers:
            tell(None)
        self._tell(None, changed=True)


class Watch:
    """Whether some accounts (None: any) were heard of since it began, for one who waits. Of others nothing is kept."""

    def __init__(self, accounts: frozenset[str] | None) -> None:
        self._accounts = accounts
        self._heard = asyncio.Event()

    def add(self, subjects: frozenset[str] | None) -> None:
        """Something was heard about these, or (None) about all."""
        if subjects is None or (bool(subjects) if self._accounts is None else not self._accounts.isdisjoint(subjects)):
            self._heard.set()

    def forget(self) -> None:
        """Begin anew, before a question is asked that will see all of it."""
        self._heard.clear()

    async def heard(self, seconds: float) -> bool:
        """Wait until something is heard about its accounts; False when the time is over."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._heard.wait()
        except TimeoutError:
            return False
        return True


def _subjects(payload: str) -> frozenset[str] | None:
    """The accounts or views of a message; None for all, and for a message that cannot be read."""
    try:
        message = json.loads(payload)
    except ValueError:
        return None
    match message:
        case {"view": str(view)}:
            return frozenset({view_topic(view)})
        case {"accounts": [*accounts]} if all(isinstance(account, str) for account in accounts):
            return frozenset(accounts)
        case _:
            return None


def _leave_if_cancelled() -> None:
    """A cancellation may be lost where something else ended in the same moment, until Python 3.12; then it is here."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
