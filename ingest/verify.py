"""Whether the mirror is the bank: account by account, day by day, and row by row where a day differs.

The bank is read by its listing, whatever way ingest reads it. It lives meanwhile: what differs is polled and looked at
again before it is called a difference.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import assert_never, cast

from banks.ports import BankError, BankReader
from ingest import decide, relink, tally, verify_store
from ingest.decide import DEFAULT_CONNECTION, Feed
from ingest.desk import open_desk
from ingest.fetch import fetch_accounts
from ingest.once import poll_to_end
from ingest.poll import Desk
from ingest.settings import IngestSettings
from ingest.tally import Difference, Note, UntiedDay
from ingest.verify_account import AccountComparison, AccountReport
from ingest.verify_listed import Overheard, compare_accounts, compare_balances, patiently

# The first look, and three more for what has moved at the bank in between. A row that is still not the same then
# changes faster than it can be read.
LOOKS_MAX = 4

Days = dict[str, list[date]]


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """How far a comparison is; `rows` are those read from the bank."""

    account_id: str
    look: int
    rows: int
    accounts_done: int
    accounts_total: int
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. `moving` are differences that no two looks saw alike: the bank changes too fast there. `error` is set
    if nothing could be compared at all.
    """

    accounts: list[AccountReport] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    moving: list[Difference] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    error: BankError | None = None
    looks: int = 0
    elapsed_seconds: float = 0.0

    @property
    def is_compared(self) -> bool:
        """Whether every account could be compared to the end."""
        return not (self.error or self.moving or any(account.error for account in self.accounts))


OnProgress = Callable[[VerifyProgress], None]


async def verify(
    settings: IngestSettings,
    on_progress: OnProgress,
    *,
    account_id: str | None = None,
    first: date | None = None,
    last: date | None = None,
) -> Report:
    """Compare the mirror with the bank: everything, or one account of it, or some days. Raises StartupError."""
    async with open_desk(settings, sets_pace=False) as desk:
        return await Comparison(desk, on_progress, account_id, first, last).run()


class Comparison:
    """One comparison: what is in doubt, and what is certain."""

    def __init__(
        self,
        desk: Desk,
        on_progress: OnProgress = lambda progress: None,
        account_id: str | None = None,
        first: date | None = None,
        last: date | None = None,
    ) -> None:
        self._overheard = Overheard(desk.bank)
        self._desk = desk._replace(bank=cast(BankReader, self._overheard))
        self._on_progress = on_progress
        self._account_id = account_id
        self._first, self._last = first, last
        self._started = time.monotonic()
        self._accounts: dict[str, AccountComparison] = {}
        self._notes: set[Note] = set()
        self._untied: list[UntiedDay] = []
        self._look_number = self._done = self._total = 0

    async def run(self) -> Report:
        """Look, and look again at what differs until it is gone or certain."""
        try:
            final, moving = await self._settle()
            error = None
        except BankError as caught:
            final, moving, error = [], [], caught
        final.sort(key=lambda found: (found.account_id, found.day or date.min, found.subject, found.key))
        accounts = [self._accounts[account_id].report for account_id in sorted(self._accounts)]
        notes = sorted(self._notes.union(*(account.notes for account in accounts)))
        elapsed = time.monotonic() - self._started
        return Report(accounts, final, moving, notes, error, self._look_number, elapsed)

    async def _settle(self) -> tuple[list[Difference], list[Difference]]:
        self._untied = await verify_store.days_untied(self._desk.pool, self._account_id, self._first, self._last)
        final = {difference.place: difference for difference in map(tally.untied_difference, self._untied)}
        before: list[Difference] | None = None
        days: Days | None = None
        while True:
            self._look_number += 1
            seen, days = await self._look(days)
            certain, doubtful = tally.settle(before, seen, self._is_certain)
            final.update((difference.place, difference) for difference in certain)
            doubtful = [difference for difference in doubtful if difference.place not in final]
            if not doubtful or self._look_number == LOOKS_MAX:
                return list(final.values()), doubtful
            days = {found.account_id: days.get(found.account_id, []) for found in doubtful}
            await self._poll(doubtful)
            before = doubtful

    def _is_certain(self, difference: Difference) -> bool:
        """Whether it needs no second look: where the mirror contradicts itself, it is not the bank that moved."""
        if difference.subject == "transaction":
            return any((day.account_id, day.day) == (difference.account_id, difference.day) for day in self._untied)
        return difference.kind == "untied"

    # ── a look ──

    async def _look(self, days: Days | None) -> tuple[list[Difference], Days]:
        """What differs now, and on which days of which accounts; a later look is only at those that are given."""
        only = self._account_id
        # An account that the bank lists under a new id keeps its own here; a poll may have found that out.
        desk = self._desk._replace(bank=await relink.renamed(self._desk.pool, self._desk.bank, DEFAULT_CONNECTION))
        listed = await patiently(lambda: fetch_accounts(desk.bank, DEFAULT_CONNECTION))
        stored = await verify_store.accounts_stored(self._desk.pool, DEFAULT_CONNECTION, only)
        former = await relink.former_ids(self._desk.pool, DEFAULT_CONNECTION)
        named = [row._replace(account_id=former.get(row.account_id, row.account_id)) for row in listed.rows]
        theirs = {row.account_id: row for row in named if only in (None, row.account_id)}
        refused = {row.account_id for row in listed.refused}
        held_back = await verify_store.accounts_held_back(desk.pool, DEFAULT_CONNECTION)
        notes = {Note(account_id, "held-back") for account_id in theirs.keys() & held_back}
        theirs = {account_id: row for account_id, row in theirs.items() if account_id not in held_back}
        seen, of_accounts = compare_accounts(theirs, stored, refused)
        of_balances, balance_notes = await compare_balances(desk, stored, only, self._overheard.stated)
        seen += of_balances
        self._notes = notes | of_accounts | balance_notes
        ids = sorted({*theirs, *stored} if days is None else days)
        self._done, self._total = 0, len(ids)
        differing: Days = {}
        slots = asyncio.Semaphore(desk.settings.concurrency)

        async def compare(account_id: str) -> None:
            async with slots:
                account = self._accounts.get(account_id)
                if account is None:
                    account = self._accounts[account_id] = AccountComparison(
                        desk.pool, account_id, self._first, self._last, lambda: self._tell(account_id)
                    )
                found, differing[account_id] = await account.look(desk.bank, None if days is None else days[account_id])
                seen.extend(found)
            self._done += 1
            self._tell(account_id)

        async with asyncio.TaskGroup() as group:
            for account_id in ids:
                group.create_task(compare(account_id))
        return seen, differing

    def _tell(self, account_id: str) -> None:
        rows = sum(account.rows_read for account in self._accounts.values())
        elapsed = time.monotonic() - self._started
        self._on_progress(VerifyProgress(account_id, self._look_number, rows, self._done, self._total, elapsed))

    # ── between two looks ──

    async def _poll(self, doubtful: Iterable[Difference]) -> None:
        """Let the mirror catch up with what the last look may have seen before it."""
        per_account = decide.feeds_per_account(self._desk.bank.capabilities, self._desk.settings.read_mode)
        feeds: set[tuple[Feed, str]] = set()
        for difference in doubtful:
            match difference.subject:
                case "account":
                    feeds |= {("accounts", "")}
                case "balance":
                    feeds |= {("balances", difference.account_id if "balances" in per_account else "")}
                case "transaction":
                    feeds |= {("transactions", difference.account_id if "transactions" in per_account else "")}
                case "day":
                    pass  # The mirror contradicts itself there; no poll mends that.
                case _:
                    assert_never(difference.subject)
        for feed, account_id in sorted(feeds):
            await patiently(partial(self._poll_feed, feed, account_id))

    async def _poll_feed(self, feed: Feed, account_id: str) -> None:
        polled = await poll_to_end(self._desk, feed, account_id)
        if polled.outcome in ("failed", "throttled") and polled.cause is not None:
            raise polled.cause
