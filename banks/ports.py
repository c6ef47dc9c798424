"""What we ask of a bank (`BankReader`, `BankPayer`) and what a bank answers, whatever its wire format.

An adapter translates signs, units, ids and dates into these types, and refuses what it cannot translate exactly:
a refused row travels beside the good ones as `Refused`, with its raw bytes and the reason, and never disappears.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a bank's interface can do. Declared by its adapter; nothing is guessed at run time."""

    delta_feed: bool
    bulk_balances: bool
    lookup_by_reference: bool
    webhooks: bool
    # How long the bank remembers an idempotency key. A payment must not be sent again after it: the bank would take it
    # for a new one. It has no default, because guessing it wrong pays twice.
    idempotency_retention: timedelta


class FetchedAccount(NamedTuple):
    """An account as the bank lists it."""

    account_id: str
    name: str
    type: str
    currency: str
    status: str


class FetchedBalance(NamedTuple):
    """A balance as the bank states it, in minor units; `available_minor` is None where the bank does not say."""

    account_id: str
    currency: str
    current_minor: int
    available_minor: int | None
    as_of: datetime


class FetchedTransaction(NamedTuple):
    """A transaction as the bank shows it; the fields stand in the order of the staging table."""

    account_id: str
    transaction_id: str
    amount_minor: int
    currency: str
    status: str
    type: str
    description: str
    counterparty_name: str | None
    counterparty_account_id: str | None
    client_reference: str | None
    pending_transaction_id: str | None
    created_at: datetime
    booked_on: date | None
    content_hash: bytes


class Removed(NamedTuple):
    """The bank says that it no longer has this transaction."""

    account_id: str
    transaction_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that could not be translated exactly. `account_id` is empty when the row does not say whose it is.

    `transaction_id` and `day` (that the bank lists it under) are set where the row has usable ones: they tell when it
    was mended.
    """

    account_id: str
    reason: str
    raw: bytes
    transaction_id: str = ""
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One page of a listing. `next_cursor` is None on the last one; `as_of` is the bank's clock, where it tells."""

    rows: Sequence[Row]
    refused: Sequence[Refused]
    next_cursor: str | None
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """One page of a delta feed. Later pages win over earlier ones; inside a page a removal wins.

    `cursor` is where to go on from; once `has_more` is False, it is where the next poll starts.
    """

    upserts: Sequence[FetchedTransaction]
    removed: Sequence[Removed]
    refused: Sequence[Refused]
    cursor: str
    has_more: bool
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Window:
    """Days on the booking date (for a pending transaction: on the day it was made), both ends included."""

    first: date
    last: date


class BankReader(Protocol):
    """Reads a bank. Every method raises a BankError and never returns half of a page."""

    name: str
    base_url: str
    capabilities: Capabilities

    def accounts(self) -> AsyncIterator[Page[FetchedAccount]]:
        """All accounts, open and closed."""
        ...

    def balances(self, account_id: str | None) -> AsyncIterator[Page[FetchedBalance]]:
        """The balances of all accounts, or of one where the bank has no bulk listing."""
        ...

    def changes(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        """What changed since a cursor, None for everything. Only with `capabilities.delta_feed`."""
        ...

    def transactions(
        self, account_id: str, window: Window, cursor: str | None
    ) -> AsyncIterator[Page[FetchedTransaction]]:
        """The transactions of one account in a window, oldest first, from a page cursor on."""
        ...

    async def register_webhook(self, url: str) -> None:
        """Have the bank tell this address when something changed; once is enough. Only with `capabilities.webhooks`."""
        ...


class BankError(Exception):
    """The bank could not be read. `slug` names the kind for the log, the metrics and sync.targets.last_error."""

    slug = "bank-error"

    def __init__(self, detail: str) -> None:
        super().__init__(f"{self.slug}: {detail}")
        self.detail = detail


class BankUnreachable(BankError):
    """No usable answer: refused, timed out, cut off, or a 5xx."""

    slug = "bank-unreachable"


class BankThrottled(BankError):
    """The bank asks us to come later."""

    slug = "bank-throttled"

    def __init__(self, detail: str, retry_after: timedelta | None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class BankRefusedCredentials(BankError):
    """The bank does not accept our key. Asking again quickly would only lock it."""

    slug = "bank-refused-credentials"


class BankAnswerInvalid(BankError):
    """The bank answered something that is not its own format: HTML, half a JSON, another origin in a link, too much."""

    slug = "bank-answer-invalid"


class BankGone(BankError):
    """The bank says that this account is gone for good."""

    slug = "bank-account-gone"


class MutatedDuringPagination(BankError):
    """The bank's data changed between two pages; all pages of this pass are void."""

    slug = "mutation-during-pagination"


class CursorExpired(BankError):
    """The bank no longer knows the cursor; the feed starts from the beginning."""

    slug = "cursor-expired"


class Verdict(StrEnum):
    """What an answer (or its absence) proves about a payment."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # a documented decline, made before anything was executed
    NOT_SENT = "not_sent"  # no byte of the request left this machine
    REFUSED_CREDENTIALS = "refused_credentials"  # not executed, and nothing else will be: stop sending
    UNKNOWN = "unknown"  # it may have been executed
    CONFLICT = "conflict"  # the bank's evidence contradicts ours; people must look
    ABSENT = "absent"  # look-up only: the bank does not have it (now)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one contact with the bank about a payment, with what it rests on."""

    verdict: Verdict
    bank_transaction_id: str | None = None
    http_status: int | None = None
    code: str | None = None
    detail: str = ""
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """What a payment is checked against when the bank echoes it."""

    source_account_id: str
    destination_account_id: str
    amount_minor: int
    currency: str
    bank_key: str


class BankPayer(Protocol):
    """Moves money. Neither method ever raises for anything the bank or the network does: all of it is an Outcome."""

    name: str
    capabilities: Capabilities

    def encode(self, payment: Payment) -> bytes:
        """The exact bytes to send, to be frozen before the first attempt."""
        ...

    async def pay(self, payment: Payment, request_bytes: bytes) -> Outcome:
        """Send once, without any retry."""
        ...

    async def look_up(self, payment: Payment) -> Outcome:
        """Ask whether the bank has it: ACCEPTED, ABSENT, CONFLICT (found, but different or twice) or UNKNOWN."""
        ...
