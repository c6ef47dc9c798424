"""Which fault a request meets: the scripted ones first, in their order, then chance."""

import random
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.chaos.acts import PAY, WEBHOOK, Call, Deliver, Document, Fault, Options, Row
from sandbox.chaos.catalogue import FAULTS, USUAL
from sandbox.chaos.dice import strike
from sandbox.chaos.pages import LEADS_ON

# Where clients stand in their lists, and what they were told wrongly: far more than any client has open at once.
_CURSORS_MAX: Final = 10_000
_TOLD_MAX: Final = 100_000


@dataclass(slots=True)
class Scripted:
    """A fault that was asked for. `after` requests that it could strike pass first; `left` are how many it strikes."""

    number: int
    fault: str
    route: str | None = None
    account_id: str | None = None
    page: int | None = None
    after: int = 0
    left: int = 1
    options: Options = field(default_factory=Options)

    def wants(self, call: Call) -> bool:
        """Whether it is meant for this call. One that has `after` left lets it pass and counts it."""
        if self.left <= 0 or not FAULTS[self.fault].strikes(call):
            return False
        if self.route not in (None, call.route) or self.account_id not in (None, call.account_id):
            return False
        if self.page not in (None, call.page):
            return False
        self.after -= 1
        return self.after < 0


@dataclass(slots=True)
class Chaos:
    """The state of chaos in this process: what is wanted, what was done. Nothing of it is in the database."""

    rate: float = 0.0
    seed: int = 1
    faults: frozenset[str] = USUAL
    writes: bool = False
    events_per_minute: float = 0.0
    # A cursor that leads in a circle was given out: who comes back with it is led on, until all is calm.
    misleads: bool = False
    requests: int = 0
    notices: int = 0
    happened: int = 0
    queue: list[Scripted] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    events_done: Counter[str] = field(default_factory=Counter)
    # Transactions that were told otherwise than they are, and ones that were told though they do not exist.
    altered: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)
    invented: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)
    _numbers: int = 0
    _pages: OrderedDict[str, tuple[int, Row | None]] = field(default_factory=OrderedDict)

    @property
    def armed(self) -> bool:
        """Whether any request can meet a fault. When not, requests pass without being looked at."""
        return self.rate > 0 or bool(self.queue)

    def script(self, fault: str, **wanted: Any) -> Scripted:
        """Queue a fault."""
        self._numbers += 1
        scripted = Scripted(self._numbers, fault, **wanted)
        self.queue.append(scripted)
        return scripted

    def deal(self, call: Call) -> Iterator[tuple[Fault, Options, random.Random]]:
        """The faults to try on a call until one can be done: `struck` says which it was."""
        if call.route in WEBHOOK:
            # Counted for themselves: they come when they come, and must not move what requests meet.
            self.notices += 1
            number = -self.notices
        else:
            self.requests += 1
            number = self.requests
        names = [name for name in self.faults if FAULTS[name].strikes(call)]
        if call.route in PAY and not self.writes:
            names = []
        by_chance, chance = strike(self.seed, number, self.rate, names)
        for scripted in [each for each in self.queue if each.wants(call)]:
            # Taken before it is tried, since other requests are on their way meanwhile; given back if it cannot be.
            if scripted.left > 0:
                scripted.left -= 1
                yield FAULTS[scripted.fault], scripted.options, chance
                scripted.left += 1
        for name in by_chance:
            yield FAULTS[name], Options(), chance

    def deliver(self) -> tuple[Deliver, Options]:
        """How the next webhook is sent."""
        for fault, options, _ in self.deal(Call("webhook")) if self.armed else ():
            if isinstance(fault.act, Deliver):
                self.struck(fault)
                return fault.act, options
        return Deliver(), Options()

    def struck(self, fault: Fault) -> None:
        """Count what was done."""
        self.done[fault.name] += 1
        self.queue = [scripted for scripted in self.queue if scripted.left > 0]
        self.misleads = self.misleads or fault.name in LEADS_ON

    def page_of(self, cursor: str | None, *, mid_loop: bool) -> int:
        """Which page a cursor asks for; for one given out when nobody counted, a guess."""
        if cursor is None:
            return 1
        return self._pages[cursor][0] if cursor in self._pages else 1 + mid_loop

    def row_before(self, cursor: str | None) -> Row | None:
        """The last row of the page that a cursor came with, if that page was seen."""
        return self._pages[cursor][1] if cursor is not None and cursor in self._pages else None

    def remember(self, call: Call, document: Document) -> None:
        """Keep in mind what a page's next cursor means, before anything is done to the page."""
        following = document.get("next_cursor")
        if not isinstance(following, str):
            return
        goes_on = document.get("has_more", True)
        rows = document.get("data") or (document.get("added") or []) + (document.get("modified") or [])
        row = rows[-1] if rows and goes_on else None
        _keep(self._pages, following, (call.page + 1 if goes_on else 1, row), _CURSORS_MAX)

    def told(self, altered: list[tuple[str, str]], invented: list[tuple[str, str]]) -> None:
        """Keep in mind what will have to be put right."""
        for transaction in altered:
            _keep(self.altered, transaction, None, _TOLD_MAX)
        for transaction in invented:
            _keep(self.invented, transaction, None, _TOLD_MAX)

    def calm(self) -> None:
        """No further fault and no further event. What was done stays counted."""
        self.rate, self.events_per_minute, self.misleads = 0.0, 0.0, False
        self.queue.clear()


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
