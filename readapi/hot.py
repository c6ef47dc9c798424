"""Answers kept in memory as bytes, for as long as they are known to be true.

An answer is given again until one of its accounts is heard of, until it is no longer fresh, or until nothing is heard
from the database at all. What is being asked just then is guarded as well: whatever is heard between the beginning of
a question and its answer may or may not be in it, so such an answer goes to who asked, and is not kept.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from readapi.entry import Entry, Key

# Accounts that one fill is told of one by one; beyond these, it counts as told of all.
HEARD_MAX = 1_000
# One answer may take this part of all that may be kept; a bigger one would push out too many.
LARGEST_PART = 8


class Trust(Protocol):
    """How long silence means that nothing changed, by the event loop's clock."""

    trusted_until: float


class Fill:
    """An answer that is being made, with what was heard since before its question."""

    __slots__ = ("_account_id", "_all", "_ended", "_heard", "began", "entry", "key", "number")

    def __init__(self, key: Key, account_id: str | None, began: float, number: int, *, trusted: bool) -> None:
        self.key = key
        self.began = began
        # Of two fills the one with the higher number began later. A clock could show the same for both.
        self.number = number
        # The answer, once it is there; None where it is none that can be kept.
        self.entry: Entry | None = None
        self._account_id = account_id
        self._heard: set[str] = set()
        # Who does not hear must take it that something was said.
        self._all = not trusted
        self._ended = asyncio.Event()

    def hear(self, accounts: Iterable[str] | None) -> None:
        """Something changed at these accounts, or (None) anywhere."""
        if accounts is None or len(self._heard) > HEARD_MAX:
            self._all = True
        else:
            self._heard.update(accounts)

    @property
    def is_spoiled(self) -> bool:
        """Whether something was heard that its question may have missed. Until the answer is there, of the account in
        its path; without one in the path it may be of any account.
        """
        if self._all or not self._heard:
            return self._all
        if self.entry is not None:
            return self.entry.accounts is None or not self.entry.accounts.isdisjoint(self._heard)
        return self._account_id is None or self._account_id in self._heard

    def end(self) -> None:
        """Let those go on who wait for it."""
        self._ended.set()

    async def wait(self) -> None:
        """Wait until the answer is there, or it is known that there will be none to share."""
        await self._ended.wait()


class Hot:
    """The answers of one process. Not thread-safe, and needs no lock: nothing here awaits between look and act."""

    def __init__(self, trust: Trust, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self.hits = 0
        self.not_modified = 0
        self.misses = 0
        self.joins = 0
        self.evictions = 0
        self.invalidations = 0
        self.spoiled_fills = 0
        # How many fills have begun; a fill with a higher number began after whoever looked here.
        self.begun = 0
        self.trust = trust
        # In the order in which they are looked at for eviction. An OrderedDict, because the first one of a plain dict
        # is found ever more slowly when what is removed is always the first.
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._of_account: dict[str, set[Key]] = {}
        self._of_any: set[Key] = set()
        self._fills: set[Fill] = set()
        # Of each key the fill under way that others may wait for.
        self._shared: dict[Key, Fill] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def accounts_indexed(self) -> int:
        """Accounts that some answer is kept of."""
        return len(self._of_account)

    def find(self, key: Key, now: float) -> Entry | None:
        """The answer that is kept, if it may be given at this moment of the event loop's clock."""
        entry = self._entries.get(key)
        if entry is None or now > self.trust.trusted_until:
            return None
        if now >= entry.until:
            self._remove(entry)
            return None
        entry.used = True
        return entry

    def under_way(self, key: Key, now: float) -> Fill | None:
        """A fill that began with nothing heard since: its answer is as good as one's own would be."""
        return self._shared.get(key) if now <= self.trust.trusted_until else None

    def is_good(self, fill: Fill, begun: int, now: float) -> bool:
        """Whether a fill's answer is good for one who came when so many had `begun`: its question is younger than that,
        or nothing was heard since.
        """
        entry = fill.entry
        return entry is not None and (fill.number > begun or self.find(entry.key, now) is entry)

    @contextmanager
    def filling(self, key: Key, account_id: str | None, now: float, *, shared: bool = True) -> Iterator[Fill]:
        """Around a question, from before it is asked until `keep` or the end of the block. `account_id` is the one that
        the path names; others may wait for a `shared` one.
        """
        self.begun += 1
        fill = Fill(key, account_id, now, self.begun, trusted=now <= self.trust.trusted_until)
        self._fills.add(fill)
        if shared and self.bytes_max and not fill.is_spoiled:
            self._shared.setdefault(key, fill)
        try:
            yield fill
        finally:
            self.release(fill)

    def keep(self, fill: Fill, entry: Entry) -> None:
        """The fill has its answer: it is kept, unless something was heard meanwhile."""
        fill.entry = entry
        if fill.is_spoiled:
            self.spoiled_fills += 1
        else:
            self._store(entry)
        self.release(fill)

    def invalidate(self, accounts: frozenset[str] | None) -> None:
        """Forget every answer that these accounts are in, or (None) all, and have fills under way know of it."""
        self.invalidations += 1
        for fill in self._fills:
            fill.hear(accounts)
            if fill.is_spoiled and self._shared.get(fill.key) is fill:
                del self._shared[fill.key]
        if accounts is None:
            self._entries.clear()
            self._of_account.clear()
            self._of_any.clear()
            self.bytes = 0
            return
        touched = set(self._of_any)
        for account_id in accounts:
            touched |= self._of_account.get(account_id, set())
        for key in touched:
            self._remove(self._entries[key])

    def release(self, fill: Fill) -> None:
        """The fill is over, or known to have no answer that can be kept: nobody need wait for it any more."""
        self._fills.discard(fill)
        if self._shared.get(fill.key) is fill:
            del self._shared[fill.key]
        fill.end()

    def _store(self, entry: Entry) -> None:
        if entry.size > self.bytes_max // LARGEST_PART or entry.until <= entry.began:
            return
        if (before := self._entries.get(entry.key)) is not None:
            self._remove(before)
        self._entries[entry.key] = entry
        self.bytes += entry.size
        if entry.accounts is None:
            self._of_any.add(entry.key)
        else:
            for account_id in entry.accounts:
                self._of_account.setdefault(account_id, set()).add(entry.key)
        while self.bytes > self.bytes_max:
            self._evict()

    def _evict(self) -> None:
        """Drop the first that was not used since it was last looked at: what is read again and again outlives any
        number of answers that are read once.
        """
        while True:
            entry = next(iter(self._entries.values()))
            if not entry.used:
                break
            entry.used = False
            self._entries.move_to_end(entry.key)
        self._remove(entry)
        self.evictions += 1

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.key]
        self.bytes -= entry.size
        if entry.accounts is None:
            self._of_any.discard(entry.key)
            return
        for account_id in entry.accounts:
            keys = self._of_account[account_id]
            keys.discard(entry.key)
            if not keys:
                del self._of_account[account_id]
