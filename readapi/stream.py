"""Changes as they come, as server-sent events: each with the cursor after it, so that a reader goes on where it was.

A stream holds no connection to the database while it waits. It wakes when something is heard of its accounts, and tells
of it as soon as the moments are closed in which it came to be known: then nothing earlier can follow any more.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from kernel.caller import Caller
from kernel.errors import Problem, StreamEnded, TooManyStreams
from kernel.problems import problem_document
from readapi.changes import Feed, Page
from readapi.news import News, Watch
from readapi.outflow import Pieces

# A stream costs a socket and some 50 kB. What limits them is what they ask: each asks again whenever something changed.
STREAMS_MAX = 100
# One reader with several programs has enough of these, and a program that forgets to close them has to notice.
STREAMS_OF_A_TOKEN_MAX = 5
# Seconds of silence after which a comment goes out: proxies take a silent connection for a dead one, mostly after 60.
KEEP_ALIVE_SECONDS = 15.0
# Seconds between two looks at the token, so that nothing is told any more 5 seconds after it was revoked.
TOKEN_SECONDS = 3.0
# Seconds between two looks at whether a moment is closed. Ingest moves its mark once a second.
CLOSING_SECONDS = 0.5
# Streams that ask at the same time: the other connections are for those who wait for an answer.
ASKING_MAX = 2
# Seconds after which a stream asks though nothing was heard, as it does when its verdict is due to turn.
ASK_SECONDS = 60.0
# Milliseconds before a client that lost the stream comes again.
RETRY_MS = 2_000


class Streams:
    """The streams of this process, which are few."""

    def __init__(self, news: News) -> None:
        self.asking = asyncio.Semaphore(ASKING_MAX)
        self._is_ending = False
        self._of_tokens: Counter[str | None] = Counter()
        self._watches: set[Watch] = set()
        # Only of what changed: a poll that found nothing new has nothing to tell here.
        news.subscribe(self._tell)

    @contextmanager
    def one(self, caller: Caller, account_id: str | None) -> Iterator[Watch]:
        """A stream while it runs, and what it hears: of one account, or (None) of all that the caller may see. Raises
        TooManyStreams.
        """
        token_id = caller.token_id
        if self._of_tokens.total() >= STREAMS_MAX:
            raise TooManyStreams(f"this process has {STREAMS_MAX} streams already")
        if token_id is not None and self._of_tokens[token_id] >= STREAMS_OF_A_TOKEN_MAX:
            raise TooManyStreams(f"this token has {STREAMS_OF_A_TOKEN_MAX} streams already")
        accounts = caller.accounts if account_id is None else (account_id,)
        watch = Watch(None if accounts is None else frozenset(accounts))
        self._of_tokens[token_id] += 1
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)
            self._of_tokens -= Counter({token_id: 1})

    def end(self) -> None:
        """The process ends: tell the readers of all streams to come again, which takes them to another one."""
        self._is_ending = True
        self._tell(None)

    def check(self) -> None:
        """Raise StreamEnded if the process ends."""
        if self._is_ending:
            raise StreamEnded

    def _tell(self, accounts: frozenset[str] | None) -> None:
        for watch in self._watches:
            watch.add(accounts)


@dataclass
class Stream:
    """One reader's stream, from its first page on."""

    feed: Feed
    watch: Watch
    asking: asyncio.Semaphore
    limit: int
    # Raises a Problem when the stream has to end: its token was revoked or has used up its bytes, or the process ends.
    check: Callable[[], Awaitable[None]]
    # Leaves a receipt of an event that goes out, by its id and its data.
    note: Callable[[str, str], None] = lambda _, __: None
    _told: tuple[str, str | None] | None = None
    # What was heard is known since before this moment. Until it is closed there may be more to tell.
    _owed: datetime | None = None

    async def events(self, page: Page) -> Pieces:
        """The events, beginning with those of a page that was asked for after the watch began."""
        yield b"retry: %d\n\n" % RETRY_MS
        try:
            while True:
                cursor = self.feed.cursor(page)
                for name, data in self._told_of(page):
                    # As the last thing before it leaves: to wait for a turn, or for the reader, may have taken long.
                    await self.check()
                    self.note(cursor, data)
                    yield _event(name, cursor, data)
                if not page.has_more:
                    async for comment in self._silence(page):
                        yield comment
                async with self.asking:
                    page = await self.feed.page(page.position, self.limit)
        except Problem as problem:
            # Whether to come again, and with what, is in it.
            yield _event("end", None, json.dumps(problem_document(problem), separators=(",", ":")))

    def _told_of(self, page: Page) -> Iterator[tuple[str, str]]:
        """The names of a page's events, and their data."""
        if page.changed:
            yield "changes", self.feed.body(page)
        if page.trust != self._told:
            self._told = page.trust
            yield "freshness", page.freshness

    async def _silence(self, page: Page) -> Pieces:
        """Wait until there is something to ask for, with a comment now and then."""
        clock = asyncio.get_running_loop().time
        comment_at = clock() + KEEP_ALIVE_SECONDS
        # A verdict turns by itself when what was confirmed last is too old.
        turns = page.fresh_seconds if page.fresh_seconds is not None and page.fresh_seconds >= 0 else ASK_SECONDS
        ask_at = clock() + min(ASK_SECONDS, turns + 1)
        while clock() < ask_at:
            if self._owed is None:
                until = min(comment_at, ask_at, clock() + TOKEN_SECONDS)
                if await self.watch.heard(until - clock()):
                    self.watch.forget()
                    _, self._owed = await self._closed()
            else:
                closed_until, _ = await self._closed()
                if closed_until >= self._owed:
                    self._owed = None
                    return
                if closed_until > page.until:
                    return
                await asyncio.sleep(CLOSING_SECONDS)
            await self.check()
            if clock() >= comment_at:
                comment_at = clock() + KEEP_ALIVE_SECONDS
                yield b": nothing new\n\n"

    async def _closed(self) -> tuple[datetime, datetime]:
        # Taking turns as well: one message may wake all streams at once.
        async with self.asking:
            return await self.feed.closed()


def _event(name: str, cursor: str | None, data: str) -> bytes:
    """An event; `data` is JSON, in which line breaks are escaped."""
    place = "" if cursor is None else f"id: {cursor}\n"
    return f"{place}event: {name}\ndata: {data}\n\n".encode()
