"""The way to the bank, on which things go wrong; and what was said on it, to be said again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from banks.ports import (
    BankAnswerInvalid,
    BankGone,
    BankThrottled,
    BankUnreachable,
    ChangePage,
    CursorExpired,
    FetchedTransaction,
    MutatedDuringPagination,
    Page,
    Refused,
    Window,
)
from tests.integration.ingest.model_bank import ModelBank, ModelReader
from tests.torture.arena import KilledError

# Raised in place of a page.
ERRORS: dict[str, Callable[[], BaseException]] = {
    "fail": lambda: BankUnreachable("HTTP 502"),
    "garbage": lambda: BankAnswerInvalid("the answer is not an object"),
    "throttle": lambda: BankThrottled("HTTP 429", None),
    "mutate": lambda: MutatedDuringPagination("HTTP 409"),
    "expire": lambda: CursorExpired("HTTP 410"),
    "cancel": asyncio.CancelledError,
    "kill": KilledError,
}
# What is done to a page.
DAMAGES = ("empty", "twice", "twice different", "poison", "life")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens on a page of the next poll, once."""

    kind: str
    page: int


@dataclass(slots=True)
class Recording:
    """The pages that were given for one question."""

    cursor: str | None
    window: Window | None
    account_id: str
    pages: list[Any] = field(default_factory=list)


class TorturedReader(ModelReader):
    """Reads a model bank, with one fault a poll. `moves` is what the bank does between two pages."""

    def __init__(self, bank: ModelBank, *, delta_feed: bool, bulk_balances: bool) -> None:
        super().__init__(bank, delta_feed=delta_feed, bulk_balances=bulk_balances)
        self.fault: Fault | None = None
        self.moves: Callable[[], None] = lambda: None
        self.recorded: Recording | None = None
        self.poisoned: set[tuple[str, str]] = set()
        # Recordings to be given once more, word for word, in place of the bank.
        self.replayed: Recording | None = None
        self._extra: list[FetchedTransaction] = []
        self.before_page = self._raise_fault

    def _raise_fault(self, page: int) -> None:
        fault = self.fault
        if fault is not None and fault.page == page and fault.kind in ERRORS:
            self.fault = None
            raise ERRORS[fault.kind]()

    async def changes(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        if self.replayed is not None and self.replayed.cursor == cursor:
            for page in self.replayed.pages:
                yield page
            return
        self.recorded = recording = Recording(cursor, None, "")
        async for page in super().changes(cursor):
            rows, refused = self._damage(page.upserts, len(recording.pages) + 1)
            damaged = replace(page, upserts=rows, refused=[*page.refused, *refused])
            recording.pages.append(damaged)
            yield damaged

    async def transactions(
        self, account_id: str, window: Window, cursor: str | None
    ) -> AsyncIterator[Page[FetchedTransaction]]:
        if self.bank.accounts[account_id]["status"] == "closed":
            raise BankGone("HTTP 410, account-closed")
        asked = Recording(cursor, window, account_id)
        if self.replayed is not None and replace(self.replayed, pages=[]) == asked:
            for page in self.replayed.pages:
                yield page
            return
        self.recorded = asked
        if self.fault is not None and self.fault.kind == "empty":
            self.fault = None
            yield Page((), (), None, None)
            return
        async for page in super().transactions(account_id, window, cursor):
            rows, refused = self._damage(page.rows, len(asked.pages) + 1)
            damaged = replace(page, rows=rows, refused=[*page.refused, *refused])
            asked.pages.append(damaged)
            yield damaged

    def _damage(self, rows: Any, page: int) -> tuple[list[FetchedTransaction], list[Refused]]:
        """The rows of a page as they arrive; those of the page before once more, if that was asked for."""
        rows = [*rows, *self._extra]
        self._extra = []
        fault = self.fault
        if fault is None or fault.page != page or not rows:
            return rows, []
        match fault.kind:
            case "twice":
                self._extra = rows[-1:]
            case "twice different" if not self.capabilities.delta_feed:
                self._extra = [rows[-1]._replace(amount_minor=rows[-1].amount_minor + 1, content_hash=b"other")]
            case "poison":
                *rows, struck = rows
                self.fault = None
                self.poisoned.add(struck[:2])
                raw = f"poisoned {struck.account_id} {struck.transaction_id}".encode()
                day = struck.booked_on or struck.created_at.date()
                return rows, [Refused(struck.account_id, "poisoned", raw, struck.transaction_id, day)]
            case "life":
                self.moves()
            case _:
                return rows, []
        self.fault = None
        return rows, []
