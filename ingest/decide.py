"""What fetched pages mean for the mirror. Pure: no network, no database, no clock and no dice of its own."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import itemgetter
from typing import Generic, Literal, NamedTuple, TypeVar

from banks.ports import (
    BankError,
    BankGone,
    BankRefusedCredentials,
    BankThrottled,
    Capabilities,
    ChangePage,
    FetchedAccount,
    FetchedBalance,
    FetchedTransaction,
    MutatedDuringPagination,
    Page,
    Refused,
    Removed,
    Window,
)

Feed = Literal["accounts", "balances", "transactions"]
DEFAULT_CONNECTION = "default"

# A bank does not lose a fifth of an account between two polls. Small windows may lose a handful.
ABSENCE_SHARE_MAX = 0.2
ABSENCE_ROWS_MAX = 5
# An account is no row among thousands: two that go together are many.
ABSENCE_ACCOUNTS_MAX = 1

# No bank booked anything that matters before this day, and every bank accepts it as a date.
HISTORY_BEGINS = date(1970, 1, 1)
# The longest that a listing reaches back for late entries; what comes later than that is found by the sweep.
LOOKBACK_MAX = timedelta(days=90)
# A bank that was ten days late is twelve days late some day.
LAG_MARGIN = timedelta(days=3)
# How often everything is read again: a listing shows nothing older than its overlap, a delta feed tells every change.
SWEEP_INTERVAL_LISTING = timedelta(hours=24)
SWEEP_INTERVAL_CHANGES = timedelta(hours=168)
# Future-dated entries exist, and the bank's day may be ahead of ours.
DAYS_AHEAD = 7
# A pending entry older than this will not settle any more; reading further back for it would never end.
PENDING_DAYS_MAX = 45

BACKOFF_SECONDS_MAX = 60.0
# Asking again with a key that the bank refuses can lock the key.
REFUSED_CREDENTIALS_SECONDS = 300.0
# A listing that lost much is often back in a minute; a second look must be an interval later anyway.
MASS_DISAPPEARANCE_SECONDS = 60.0
# A bank that asks for less than a second, for a negative time or for weeks is broken, and must not stop us
# for weeks.
RETRY_AFTER_MIN = timedelta(seconds=1)
RETRY_AFTER_MAX = timedelta(hours=24)

# A transaction's account and id. Without a Python call for each row, since a backfill has millions.
_KEY = itemgetter(0, 1)
Row = TypeVar("Row", FetchedAccount, FetchedBalance, FetchedTransaction)


class MassDisappearance(BankError):
    """So much of what we hold is suddenly not listed that the listing is doubted, not the mirror."""

    slug = "mass-disappearance"


@dataclass(frozen=True, slots=True)
class Changeset:
    """What the transactions of one or more pages come to; the database applies it in one transaction.

    `upserts` holds each transaction once, and none that is in `removed`. `begins` and `ends` say whether the
    pass starts and finishes with it. `window` is set for a listing; `from_start` says that the pass shows
    everything there is.
    """

    upserts: Sequence[FetchedTransaction]
    removed: Sequence[Removed]
    refused: Sequence[Refused]
    pages: int
    rows_seen: int
    cursor: str | None
    begins: bool
    ends: bool
    from_start: bool
    window: Window | None
    as_of: datetime | None
    # When a listing began, by the database's clock: what it stored since, it must not show in another form.
    began: datetime | None = None
    # A second reading of what is mirrored, beside the polls.
    is_sweep: bool = False

    @property
    def judges_absence(self) -> bool:
        """Whether the pass shows everything in its days, so that what it does not show is absent."""
        return self.from_start or self.window is not None

    @property
    def shows_everything(self) -> bool:
        """Whether the pass shows all that the bank has, of the whole connection or of an account."""
        return self.from_start or (self.window is not None and self.window.first == HISTORY_BEGINS)

    @property
    def scope(self) -> dict[str, date | str]:
        """The days that the pass covers, for the database; endless for a delta feed from its start."""
        if self.window is None:
            return {"first": "-infinity", "last": "infinity"}
        return {"first": self.window.first, "last": self.window.last}


@dataclass(frozen=True, slots=True)
class Listed(Generic[Row]):
    """Everything that a complete listing of accounts or balances showed, each key once."""

    rows: Sequence[Row]
    refused: Sequence[Refused]
    pages: int
    as_of: datetime | None


class Merged(NamedTuple):
    """What a stretch of pages of a pass comes to."""

    upserts: Sequence[FetchedTransaction]
    removed: Sequence[Removed]
    refused: Sequence[Refused]
    rows_seen: int
    as_of: datetime | None


# ── pages of one pass ───────────────────────────────────────────────────────────────────────────────────────


def merge_changes(pages: Iterable[ChangePage]) -> Merged:
    """The net effect of pages of a delta feed: a later page wins over an earlier one, inside a page a removal
    wins.
    """
    upserts: dict[tuple[str, str], FetchedTransaction] = {}
    removed: dict[tuple[str, str], Removed] = {}
    refused: list[Refused] = []
    rows_seen = 0
    as_of: datetime | None = None
    for page in pages:
        if refused:  # What a later page shows well, or takes back, is not in doubt any more.
            settled = {*map(_KEY, page.upserts), *page.removed}
            refused = [row for row in refused if (row.account_id, row.transaction_id) not in settled]
        upserts.update(zip(map(_KEY, page.upserts), page.upserts, strict=True))
        if removed:
            for row in page.upserts:
                removed.pop(_KEY(row), None)
        for gone in page.removed:
            upserts.pop(gone, None)
            removed[gone] = gone
        refused.extend(page.refused)
        rows_seen += len(page.upserts) + len(page.removed) + len(page.refused)
        as_of = page.as_of or as_of
    return Merged(list(upserts.values()), list(removed.values()), refused, rows_seen, as_of)


def merge_listing(pages: Iterable[Page[FetchedTransaction]]) -> Merged:
    """The rows of pages of a listing, each once.

    Raises MutatedDuringPagination when one id was shown with two contents: then the pages are not of one
    moment.
    """
    listed = list(pages)
    rows = _each_once(listed, key_fields=2)
    refused = [row for page in listed for row in page.refused]
    seen = sum(len(page.rows) + len(page.refused) for page in listed)
    return Merged(rows, (), refused, seen, _last_as_of(listed))


def list_accounts(pages: Sequence[Page[FetchedAccount]]) -> Listed[FetchedAccount]:
    """All accounts of a complete listing. Raises MutatedDuringPagination as merge_listing does."""
    refused = [row for page in pages for row in page.refused]
    return Listed(_each_once(pages, key_fields=1), refused, len(pages), _last_as_of(pages))


def list_balances(pages: Sequence[Page[FetchedBalance]]) -> Listed[FetchedBalance]:
    """The newest balance of each account and currency; one is listed twice when a page shifts."""
    newest: dict[tuple[str, str], FetchedBalance] = {}
    for page in pages:
        for row in page.rows:
            known = newest.get(row[:2])
            if known is None or known.as_of <= row.as_of:
                newest[row[:2]] = row
    refused = [row for page in pages for row in page.refused]
    return Listed(list(newest.values()), refused, len(pages), _last_as_of(pages))


def _each_once(pages: Iterable[Page[Row]], key_fields: int) -> list[Row]:
    rows: dict[tuple[object, ...], Row] = {}
    for page in pages:
        for row in page.rows:
            before = rows.setdefault(row[:key_fields], row)
            if before is not row and before != row:
                raise MutatedDuringPagination("one id was listed twice with different contents")
    return list(rows.values())


def _last_as_of(pages: Iterable[Page[Row]]) -> datetime | None:
    return max((page.as_of for page in pages if page.as_of is not None), default=None)


# ── absence ─────────────────────────────────────────────────────────────────────────────────────────────────


def is_mass_disappearance(absent: int, held: int) -> bool:
    """Whether so many of the rows we hold are absent from a complete listing that nothing may be removed."""
    return absent > max(ABSENCE_ROWS_MAX, ABSENCE_SHARE_MAX * held)


def is_doubtful_listing(absent: int, absent_lately: int, held: int) -> bool:
    """Whether a listing of accounts, or of their balances, is not taken for complete: it shows none that we
    hold, or many are suddenly not in it.

    What was not listed for a while says so itself and is stale, so that it need not cast doubt on the others.
    """
    return 0 < held == absent or absent_lately > max(ABSENCE_ACCOUNTS_MAX, ABSENCE_SHARE_MAX * held)


# ── the window of a listing ─────────────────────────────────────────────────────────────────────────────────


class Checkpoint(NamedTuple):
    """Where a chunked listing goes on: the bank's page cursor only means something inside the window it was
    made for.
    """

    window: Window
    cursor: str
    # When the listing began, by the database's clock.
    began: datetime | None = None

    def encode(self) -> str:
        """As text for sync.targets.checkpoint."""
        return json.dumps(
            {
                "first": self.window.first.isoformat(),
                "last": self.window.last.isoformat(),
                "cursor": self.cursor,
                "began": None if self.began is None else self.began.isoformat(),
            }
        )

    @classmethod
    def decode(cls, text: str) -> "Checkpoint":
        """From sync.targets.checkpoint."""
        fields = json.loads(text)
        window = Window(date.fromisoformat(fields["first"]), date.fromisoformat(fields["last"]))
        began = fields.get("began")
        return cls(window, fields["cursor"], None if began is None else datetime.fromisoformat(began))


def listing_window(today: date, covered_to: date | None, oldest_open: date | None, overlap: timedelta) -> Window:
    """The days to list next: everything at first; then from the overlap before the last covered day on, which is the
    last one before any gap.

    It reaches back to the oldest open day (something is pending, or was missed once), so that we see what
    became of it, and across any gap while we were down.
    """
    last = today + timedelta(days=DAYS_AHEAD)
    if covered_to is None:
        return Window(HISTORY_BEGINS, last)
    first = min(covered_to, today) - overlap
    if oldest_open is not None:
        first = min(first, max(oldest_open - timedelta(days=1), today - timedelta(days=PENDING_DAYS_MAX)))
    return Window(first, last)


def lookback(setting: timedelta, posting_lag: timedelta | None) -> timedelta:
    """How far before the last covered day a listing begins: as the settings say, further for a bank that posts late.

    `posting_lag` is a high quantile of how late entries came lately, None if none did.
    """
    if posting_lag is None:
        return setting
    return max(setting, min(posting_lag + LAG_MARGIN, LOOKBACK_MAX))


def sweep_interval(hours: float | None, *, by_changes: bool) -> timedelta | None:
    """How often everything is read again; None for never."""
    if hours is None:
        return SWEEP_INTERVAL_CHANGES if by_changes else SWEEP_INTERVAL_LISTING
    return timedelta(hours=hours) if hours > 0 else None


# ── what to poll, and when again ────────────────────────────────────────────────────────────────────────────


def reads_changes(capabilities: Capabilities, read_mode: Literal["auto", "listing"]) -> bool:
    """Whether transactions are read from the delta feed, and not account by account."""
    return capabilities.delta_feed and read_mode == "auto"


def feeds_per_account(capabilities: Capabilities, read_mode: Literal["auto", "listing"]) -> frozenset[Feed]:
    """The feeds that need a target for each account; the other ones cover the whole connection."""
    per_account: set[Feed] = set()
    if not reads_changes(capabilities, read_mode):
        per_account.add("transactions")
    if not capabilities.bulk_balances:
        per_account.add("balances")
    return frozenset(per_account)


def retry_delay(error: BankError, failures: int, jitter: float) -> timedelta:
    """How long to leave the bank alone after a failure, the `failures`-th in a row; `jitter` is between 0 and
    1.
    """
    backoff = min(BACKOFF_SECONDS_MAX, 2.0 ** min(max(failures, 1) - 1, 16))
    # At least half of it, so that the pause still grows; spread, so that a thousand feeds do not come back at
    # once.
    spread = timedelta(seconds=max(1.0, backoff * (0.5 + 0.5 * jitter)))
    match error:
        case BankThrottled(retry_after=timedelta() as asked):
            return min(max(asked, RETRY_AFTER_MIN), RETRY_AFTER_MAX)
        case BankRefusedCredentials():
            return timedelta(seconds=REFUSED_CREDENTIALS_SECONDS)
        case MassDisappearance():
            return timedelta(seconds=MASS_DISAPPEARANCE_SECONDS)
        case _:
            return spread


def parks(error: BankError, account_id: str) -> bool:
    """Whether a feed is not polled any more: the bank says that its account is gone for good."""
    return isinstance(error, BankGone) and account_id != ""


# ── whose data this is ──────────────────────────────────────────────────────────────────────────────────────


def mirror_account_id(connection_id: str, account_id: str) -> str:
    """The account's id in the mirror: the bank's own, prefixed for every connection but the default one."""
    return account_id if connection_id == DEFAULT_CONNECTION else f"{connection_id}:{account_id}"


def bank_account_id(connection_id: str, account_id: str) -> str:
    """The account's id at the bank."""
    return account_id if connection_id == DEFAULT_CONNECTION else account_id.removeprefix(f"{connection_id}:")
