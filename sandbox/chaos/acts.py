"""What a fault can be: one of four acts, each of them a function without side effects.

Faults say what is to go over the wire (`Reply`) and `wire.py` alone puts it there.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

Route = Literal[
    "accounts", "account", "balances", "balance", "transactions", "changes", "transaction", "pay", "webhook"
]
Row = dict[str, Any]
Document = dict[str, Any]

LISTS: Final[frozenset[Route]] = frozenset({"accounts", "balances", "transactions", "changes"})
READS: Final[frozenset[Route]] = LISTS | {"account", "balance", "transaction"}
PAY: Final[frozenset[Route]] = frozenset({"pay"})
WEBHOOK: Final[frozenset[Route]] = frozenset({"webhook"})


class Ending(Enum):
    """What becomes of the connection after the last byte."""

    KEPT = "kept"
    CLOSED = "closed"  # In order (FIN), which cuts the answer where it is.
    RESET = "reset"  # RST: the client learns that something broke.


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes over the wire. Without a status nothing does, and only the ending is felt."""

    status: int | None = 200
    headers: tuple[tuple[str, str], ...] = ()
    pieces: Iterable[bytes] = ()
    # The Content-Length that is told; None sends the body in chunks.
    length: int | None = None
    # Real seconds: before anything, and between two pieces.
    wait_seconds: float = 0.0
    pause_seconds: float = 0.0
    ending: Ending = Ending.KEPT


@dataclass(frozen=True, slots=True)
class Options:
    """What a scripted fault may be told. The defaults are those of chance."""

    # Longer than the 20 seconds that our client gives a call.
    seconds: float = 30.0
    retry_after: str | None = None
    # `.invalid` exists nowhere: nobody is called by accident.
    location: str = "http://elsewhere.invalid/transactions"
    unpacked_bytes: int = 1 << 30
    transaction_id: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the bank, as faults see it. `page` counts from 1 within a list or a loop of the feed."""

    route: Route
    account_id: str | None = None
    cursor: str | None = None
    page: int = 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What the bank answered: right, complete, and not yet sent."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class Page:
    """An answer that can be read, for faults that change what it says. They change `document` in place."""

    call: Call
    document: Document
    chance: random.Random
    options: Options
    # The last row of the page before, where that is known.
    row_before: Row | None = None
    # Transactions that are now told otherwise than they are, and ones that do not exist: (transaction_id, account_id).
    altered: list[tuple[str, str]] = field(default_factory=list)
    invented: list[tuple[str, str]] = field(default_factory=list)

    def lists(self) -> list[list[Row]]:
        """The lists of rows in the document, without those of removals."""
        names = ("added", "modified") if self.call.route == "changes" else ("data",)
        return [self.document[name] for name in names if isinstance(self.document.get(name), list)]

    def pick(self) -> tuple[list[Row], int] | None:
        """A row, as a list and a place in it: the transaction that was asked for, or one by chance."""
        places = [(rows, place) for rows in self.lists() for place in range(len(rows))]
        if (wanted := self.options.transaction_id) is not None:
            places = [(rows, place) for rows, place in places if rows[place].get("transaction_id") == wanted]
        return self.chance.choice(places) if places else None


@dataclass(frozen=True, slots=True)
class Instead:
    """The bank is not asked at all."""

    reply: Callable[[Options], Reply]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The bank is asked something else."""

    query: Callable[[dict[str, str]], dict[str, str] | None]


@dataclass(frozen=True, slots=True)
class Mangle:
    """The bank's right answer is sent in a wrong way. None: this answer cannot be."""

    reply: Callable[[Answer, Options], Reply | None]


@dataclass(frozen=True, slots=True)
class Edit:
    """The bank's right answer is made to say something else. False: this one cannot be."""

    page: Callable[[Page], bool]


@dataclass(frozen=True, slots=True)
class Deliver:
    """A webhook is sent so often, with this signature; `late` after the option's seconds."""

    copies: int = 1
    late: bool = False
    forged: bool = False
    signed_ago_seconds: int = 0


Act = Instead | Rewrite | Mangle | Edit | Deliver


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of the catalogue.

    `ids` are those of the catalogue of faults and of the bugs that systems like this had in the field. What is not
    `usual` happens only when it is asked for by name: it stops a client for a day, or cannot be told apart from truth.
    """

    name: str
    ids: str
    about: str
    act: Act
    routes: frozenset[Route] = READS
    pages: Literal["any", "later"] = "any"
    usual: bool = True

    def strikes(self, call: Call) -> bool:
        """Whether it can happen to this call at all."""
        return call.route in self.routes and (self.pages == "any" or call.page > 1)
