"""A bank in memory that a test moves by hand, read through our port or over HTTP in the generic contract.

Its rows are wire rows and go through the real translation: hashes and refusals are those of production.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from banks import generic_rows
from banks.generic import CAPABILITIES
from banks.ports import (
    Capabilities,
    ChangePage,
    CursorExpired,
    FetchedAccount,
    FetchedBalance,
    FetchedTransaction,
    Page,
    Window,
)

NOW = datetime.now(UTC).replace(microsecond=0)
TODAY = NOW.date()


@dataclass
class ModelBank:
    """What the bank has. `log` names each transaction that changed, in order; the delta feed shows it."""

    page_rows: int = 3
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    balances: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    expired: set[str] = field(default_factory=set)
    # How often the feed was begun anew; a cursor of before is not known any more.
    epoch: int = 0
    serial: int = 0

    def open_account(self, account_id: str, currency: str = "USD", current: int = 0) -> None:
        """An account with a balance."""
        self.accounts[account_id] = {
            "account_id": account_id,
            "name": f"Account {account_id}",
            "type": "checking",
            "currency": currency,
            "status": "open",
        }
        self.set_balance(account_id, current)

    def set_balance(self, account_id: str, current: int, as_of: datetime = NOW) -> None:
        """What the bank says that the account has."""
        self.balances[account_id] = {
            "account_id": account_id,
            "currency": self.accounts[account_id]["currency"],
            "current_cents": current,
            "available_cents": None,
            "as_of": as_of.isoformat(),
        }

    def post(
        self, account_id: str, amount: int, *, day: date = TODAY, pending_id: str | None = None, **fields: Any
    ) -> str:
        """A booked transaction; returns its id."""
        return self._put(
            account_id,
            amount,
            status="posted",
            day=day,
            booked_on=day,
            pending_transaction_id=pending_id,
            **fields,
        )

    def hold(self, account_id: str, amount: int, *, day: date = TODAY, **fields: Any) -> str:
        """A pending transaction; returns its id."""
        return self._put(account_id, amount, status="pending", day=day, booked_on=None, **fields)

    def settle(self, account_id: str, pending_id: str, amount: int, *, keep_pending: bool = False) -> str:
        """The pending transaction becomes a booked one under another id."""
        posted = self.post(account_id, amount, pending_id=pending_id)
        if not keep_pending:
            self.remove(account_id, pending_id)
        return posted

    def unpost(self, account_id: str, posted_id: str, hold: dict[str, Any], *, removed_first: bool = False) -> None:
        """A booking is taken back, and what it had been while it was pending is shown again."""
        if removed_first:
            self.remove(account_id, posted_id)
        self.put_row(hold)
        if not removed_first:
            self.remove(account_id, posted_id)

    def change(self, account_id: str, transaction_id: str, **fields: Any) -> None:
        """Other fields under the same id."""
        self.rows[account_id, transaction_id].update(fields)
        self.log.append((account_id, transaction_id))

    def remove(self, account_id: str, transaction_id: str) -> None:
        """The bank takes it back."""
        del self.rows[account_id, transaction_id]
        self.log.append((account_id, transaction_id))

    def reset_feed(self) -> None:
        """The bank forgets every cursor that it ever gave."""
        self.epoch += 1

    def put_row(self, row: dict[str, Any]) -> None:
        """Any wire row, good or bad."""
        key = (str(row.get("account_id")), str(row.get("transaction_id")))
        self.rows[key] = row
        self.log.append(key)

    def _put(
        self,
        account_id: str,
        amount: int,
        *,
        status: str,
        day: date,
        booked_on: date | None,
        transaction_id: str | None = None,
        pending_transaction_id: str | None = None,
        **fields: Any,
    ) -> str:
        self.serial += 1
        transaction_id = transaction_id or f"txn_{self.serial:06}"
        made = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(seconds=self.serial)
        self.put_row(
            {
                "transaction_id": transaction_id,
                "account_id": account_id,
                "amount_cents": amount,
                "currency": self.accounts.get(account_id, {}).get("currency", "USD"),
                "status": status,
                "type": "card",
                "description": "Coffee",
                "counterparty": None,
                "created_at": made.isoformat(),
                "booked_on": None if booked_on is None else booked_on.isoformat(),
                "pending_transaction_id": pending_transaction_id,
                "client_reference": None,
                **fields,
            }
        )
        return transaction_id

    def good_rows(self) -> set[tuple[Any, ...]]:
        """What a mirror of this bank holds, as `mirror_rows` shows it."""
        good, _ = generic_rows.translate(list(self.rows.values()), generic_rows.transaction)
        return {(*row[:5], row.booked_on, row.content_hash) for row in good}

    # ── the wire ──

    def changes_document(self, cursor: str | None) -> dict[str, Any]:
        """A page of the delta feed; from the start it only shows what there is."""
        if cursor in self.expired or not self.knows(cursor):
            raise CursorExpired("HTTP 410, cursor-expired")
        position = self.position(cursor)
        stretch = self.log[position : position + self.page_rows]
        upserts, removed = [], []
        for key in dict.fromkeys(stretch):
            if key in self.rows:
                upserts.append(self.rows[key])
            elif cursor is not None:
                removed.append({"account_id": key[0], "transaction_id": key[1]})
        end = position + len(stretch)
        return {
            "added": upserts,
            "modified": [],
            "removed": removed,
            "next_cursor": str(end) if self.epoch == 0 else f"{self.epoch}.{end}",
            "has_more": end < len(self.log),
        }

    def knows(self, cursor: str | None) -> bool:
        """Whether the cursor is of the feed as it is now."""
        return cursor is None or int(cursor.rpartition(".")[0] or 0) == self.epoch

    def position(self, cursor: str | None) -> int:
        """Where in the log a cursor stands."""
        return int((cursor or "0").rpartition(".")[2])

    def listing_document(self, account_id: str, window: Window, cursor: str | None) -> dict[str, Any]:
        """A page of one account's transactions, by position: a bank could do no worse."""
        found = [
            row for key, row in self.rows.items() if key[0] == account_id and window.first <= _day(row) <= window.last
        ]
        return self.page_document(found, cursor)

    def page_document(self, rows: Sequence[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
        """A page of any list."""
        position = int(cursor or 0)
        end = position + self.page_rows
        return {"data": list(rows[position:end]), "next_cursor": str(end) if end < len(rows) else None}


def _day(row: dict[str, Any]) -> date:
    try:
        return date.fromisoformat(row["booked_on"] or row["created_at"][:10])
    except ValueError:
        return TODAY  # A bad row is listed somewhere, and the newest day is in every window.


class ModelReader:
    """A `BankReader` for a ModelBank. `before_page` gets a page's number, and may raise or move the bank."""

    name = "generic"
    base_url = "http://127.0.0.1:1"

    def __init__(self, bank: ModelBank, *, delta_feed: bool = True, bulk_balances: bool = True) -> None:
        self.bank = bank
        self.capabilities = Capabilities(delta_feed, bulk_balances, True, False, CAPABILITIES.idempotency_retention)
        self.before_page: Callable[[int], None] = lambda page: None
        self.calls: list[tuple[str, str | None]] = []
        self.windows: list[Window] = []

    async def accounts(self) -> AsyncIterator[Page[FetchedAccount]]:
        cursor: str | None = None
        while True:
            self._page("accounts", cursor)
            document = self.bank.page_document(list(self.bank.accounts.values()), cursor)
            rows, refused = generic_rows.translate(document["data"], generic_rows.account)
            cursor = document["next_cursor"]
            yield Page(rows, refused, cursor, NOW)
            if cursor is None:
                return

    async def balances(self, account_id: str | None) -> AsyncIterator[Page[FetchedBalance]]:
        self._page("balances", account_id)
        wanted = [row for key, row in self.bank.balances.items() if account_id in (None, key)]
        rows, refused = generic_rows.translate(wanted, generic_rows.balance)
        yield Page(rows, refused, None, NOW)

    async def changes(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        number = 0
        while True:
            number += 1
            self._page("changes", cursor, number)
            document = self.bank.changes_document(cursor)
            rows, refused = generic_rows.translate(document["added"], generic_rows.transaction)
            removed, _ = generic_rows.translate(document["removed"], generic_rows.removal)
            cursor = str(document["next_cursor"])
            yield ChangePage(rows, removed, refused, cursor, document["has_more"], NOW)
            if not document["has_more"]:
                return

    async def transactions(
        self, account_id: str, window: Window, cursor: str | None
    ) -> AsyncIterator[Page[FetchedTransaction]]:
        self.windows.append(window)
        number = 0
        while True:
            number += 1
            self._page("transactions", cursor, number)
            document = self.bank.listing_document(account_id, window, cursor)
            rows, refused = generic_rows.translate(document["data"], generic_rows.transaction)
            cursor = document["next_cursor"]
            yield Page(rows, refused, cursor, NOW)
            if cursor is None:
                return

    async def register_webhook(self, url: str) -> None:
        raise AssertionError("this bank has no webhooks")

    def _page(self, what: str, cursor: str | None, number: int = 1) -> None:
        self.calls.append((what, cursor))
        if what in ("changes", "transactions"):
            self.before_page(number)
