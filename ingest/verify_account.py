"""The transactions of one account, compared: by days, then by rows on the days that differ."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from hashlib import sha256

from banks.ports import BankError, BankGone, BankReader, FetchedTransaction, Page, Refused, Window
from ingest import tally, verify_store
from ingest.decide import DEFAULT_CONNECTION, HISTORY_BEGINS, bank_account_id
from ingest.tally import Difference, FieldDifference, Kind, Ledger, Note
from ingest.verify_listed import patiently
from kernel.database import Pool

# The last day that a row can have: years beyond are refused.
HISTORY_ENDS = date(2200, 12, 31)
# Named differences of one account. Whoever has more needs no longer list, and memory has an end.
NAMED_MAX = 1_000
# Refused rows of an account that are looked for in quarantine.
REFUSED_MAX = 10_000
_A_DAY = timedelta(days=1)


@dataclass(slots=True)
class AccountReport:
    """What was compared of an account: the mirror's rows, days and sums. `error` says why it could not be compared;
    `days_unnamed` differ too, after so many differences that no more were named.
    """

    account_id: str
    rows: int = 0
    days: int = 0
    sums_minor: dict[str, int] = field(default_factory=dict)
    days_unnamed: int = 0
    notes: set[Note] = field(default_factory=set)
    error: BankError | None = None


class AccountComparison:
    """Looks at one account, as often as there is something in doubt."""

    def __init__(
        self,
        pool: Pool,
        account_id: str,
        first: date | None,
        last: date | None,
        heard: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._first, self._last = first, last
        self._heard = heard
        self.report = AccountReport(account_id)
        self.rows_read = 0
        # Refused rows that were in no quarantine at the last look, by the digest of their bytes.
        self._unkept: dict[bytes, Refused] = {}

    async def look(self, bank: BankReader, days: Sequence[date] | None) -> tuple[list[Difference], list[date]]:
        """What differs now, and on which days; a later look is only at the days that are given."""
        report = self.report
        report.notes, report.days_unnamed, report.error = set(), 0, None
        try:
            ledger, refused = Ledger(), self._unkept
            if days is None:
                ledger, refused = await patiently(partial(self._read_tallies, bank))
            elif refused:
                # Some have no day to look for them on. Bytes that the bank does not show again were spoiled on the way.
                _, again = await patiently(partial(self._read_tallies, bank))
                refused = {digest: row for digest, row in refused.items() if digest in again}
                self._unkept = {}
            book = await verify_store.days_tally(self._pool, report.account_id, self._first, self._last)
            report.rows = sum(slot.entries for slot in book.values())
            report.days = len({slot.day for slot in book})
            report.sums_minor = tally.sums_of(book)
            if days is None:
                days = tally.days_that_differ(ledger.book(), book)
            found = await self._look_at_days(bank, days)
            found += await self._look_at_refused(refused)
            return found, sorted({*days, *(row.day for row in self._unkept.values() if row.day is not None)})
        except BankGone:
            # The mirror keeps what the bank had.
            report.notes.add(Note(report.account_id, "gone-at-bank"))
        except BankError as error:
            report.error = error
        return [], []

    # ── the bank's side ──

    async def _read_tallies(self, bank: BankReader) -> tuple[Ledger, dict[bytes, Refused]]:
        """Everything that the bank shows of the account, tallied; and what cannot be taken as it is."""
        ledger = Ledger(self._first, self._last)
        refused: dict[bytes, Refused] = {}
        async for page in self._pages(bank, self._first or HISTORY_BEGINS, self._last or HISTORY_ENDS):
            ledger.add(page.rows)
            for row in page.refused:
                asked_for = row.day is None or (self._first or date.min) <= row.day <= (self._last or date.max)
                if asked_for and len(refused) < REFUSED_MAX:
                    refused[sha256(row.raw).digest()] = row
        return ledger, refused

    async def _read_days(
        self, bank: BankReader, days: Sequence[date]
    ) -> tuple[dict[str, FetchedTransaction], list[Refused]]:
        """The bank's rows of some days of one stretch, by id, and those among them that are refused."""
        rows: dict[str, FetchedTransaction] = {}
        refused: list[Refused] = []
        wanted = set(days)
        async for page in self._pages(bank, days[0], days[-1]):
            rows |= {row.transaction_id: row for row in page.rows if tally.day_of(row) in wanted}
            refused += page.refused
        return rows, refused

    async def _pages(self, bank: BankReader, first: date, last: date) -> AsyncGenerator[Page[FetchedTransaction]]:
        """The listing of some days, and of the ones around them: in the bank's zone a row may be on those."""
        window = Window(max(first - _A_DAY, HISTORY_BEGINS), min(last + _A_DAY, HISTORY_ENDS))
        account_id = bank_account_id(DEFAULT_CONNECTION, self.report.account_id)
        async for page in bank.transactions(account_id, window, None):
            self.rows_read += len(page.rows)
            self._heard()
            yield page

    # ── both sides ──

    async def _look_at_days(self, bank: BankReader, days: Sequence[date]) -> list[Difference]:
        """What differs on these days, row by row."""
        found: dict[str, Difference] = {}
        seen_at_bank: set[str] = set()
        for number, stretch in enumerate(tally.stretches(days)):
            if len(found) >= NAMED_MAX:
                self.report.days_unnamed = sum(map(len, tally.stretches(days)[number:]))
                break
            rows, refused = await patiently(partial(self._read_days, bank, stretch))
            seen_at_bank |= rows.keys()
            for difference in await self._compare_rows(stretch, rows, {row.transaction_id for row in refused}):
                if difference.kind != "missing-at-bank" or difference.key not in found:
                    found[difference.key] = difference
        # A row that was moved to another day is there in the bank's place, and not missing from the mirror's.
        return [
            difference
            for difference in found.values()
            if difference.kind != "missing-at-bank" or difference.key not in seen_at_bank
        ]

    async def _compare_rows(
        self, days: Sequence[date], theirs: dict[str, FetchedTransaction], refused: set[str]
    ) -> list[Difference]:
        report, pool = self.report, self._pool
        ours = await verify_store.rows_of_days(pool, report.account_id, days)
        elsewhere = await verify_store.rows_of_ids(pool, report.account_id, sorted(theirs.keys() - ours.keys()))
        one_sided = sorted(theirs.keys() ^ (ours | elsewhere).keys())
        excuses = await verify_store.excuses(pool, report.account_id, one_sided)
        found: list[Difference] = []
        for key in sorted(theirs.keys() | ours.keys()):
            bank, mirror = theirs.get(key), ours.get(key) or elsewhere.get(key)
            if bank is not None and mirror is not None:
                if fields := tally.differing_fields(bank, mirror):
                    found.append(self._difference(key, tally.day_of(mirror), "differs", fields))
            elif (note := tally.excuse(bank, mirror, excuses[key], key in refused)) is not None:
                report.notes.add(Note(report.account_id, note, key))
            elif bank is not None:
                found.append(self._difference(key, tally.day_of(bank), "missing-here", tally.described(bank, None)))
            elif mirror is not None:
                described = tally.described(None, mirror)
                found.append(self._difference(key, tally.day_of(mirror), "missing-at-bank", described))
        return found

    def _difference(
        self, key: str, day: date | None, kind: Kind, fields: tuple[FieldDifference, ...] = ()
    ) -> Difference:
        return Difference(self.report.account_id, "transaction", key, day, kind, fields)

    async def _look_at_refused(self, refused: dict[bytes, Refused]) -> list[Difference]:
        """Refused rows are in quarantine, or they were skipped in silence."""
        report = self.report
        if not refused:
            return []
        self._unkept = await verify_store.unkept(self._pool, DEFAULT_CONNECTION, report.account_id, refused)
        for digest in refused.keys() - self._unkept.keys():
            report.notes.add(
                Note(report.account_id, "quarantined", refused[digest].transaction_id or digest.hex()[:12])
            )
        return [
            self._difference(
                row.transaction_id or digest.hex()[:12],
                row.day,
                "refused-unkept",
                (FieldDifference("reason", row.reason, "none"),),
            )
            for digest, row in self._unkept.items()
        ]
