"""The bank that is mirrored under torture: what happens in its books, and what a mirror of it must hold.

What must be held is read off the wire rows themselves, and not by way of the code that is tested.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple

from tests.integration.ingest.model_bank import TODAY, ModelBank

Key = tuple[str, str]
# The decimals of the currencies of these tests, from ISO 4217 and not from our table.
EXPONENTS = {"USD": 2, "JPY": 0, "KWD": 3, "CLF": 4}
# Fields that make a row one that must be refused.
BAD: list[dict[str, Any]] = [
    {"currency": "XXX"},
    {"currency": "usd"},
    {"amount_cents": 1.5},
    {"amount_cents": 10**15},
    {"amount_cents": True},
    {"amount_cents": "12"},
    {"booked_on": "10000-01-01"},
    {"created_at": "1900-01-01T00:00:00Z"},
    {"status": "maybe"},
    {"description": None},
    {"transaction_id": "  "},
    {"transaction_id": "0"},
]
TEXTS = ["Coffee", "", "a\0b", "\ud83d half", "\u202eevil", "naïve é e\u0301", "x" * 300]


class Row(NamedTuple):
    """What is compared of a transaction."""

    account_id: str
    transaction_id: str
    amount: int
    currency: str
    status: str
    description: str
    booked_on: str | None
    pending_transaction_id: str | None


@dataclass
class Books(ModelBank):
    """A model bank that remembers which rows it made badly, and those that it removed."""

    bad: dict[Key, dict[str, Any]] = field(default_factory=dict)
    gone: list[dict[str, Any]] = field(default_factory=list)

    def readable(self, hidden: frozenset[Key] = frozenset()) -> dict[Key, dict[str, Any]]:
        """The rows that a mirror can take; `hidden` never arrived well."""
        return {key: row for key, row in self.rows.items() if key not in self.bad and key not in hidden}

    def expected(self, hidden: frozenset[Key] = frozenset()) -> set[Row]:
        """What a mirror holds: less the holds that are shown beside what they were booked as."""
        rows = self.readable(hidden)
        booked = booked_holds(rows)
        return {plain(row) for key, row in rows.items() if key not in booked}

    def last_told(self) -> dict[Key, int]:
        """Where in the feed each row was told last."""
        return {key: position for position, key in enumerate(self.log)}

    def pick(self, number: int, *, status: str | None = None, linked: bool | None = None) -> Key | None:
        """Any good row of a kind."""
        keys = [
            key
            for key, row in self.readable().items()
            if status in (None, row["status"]) and linked in (None, row["pending_transaction_id"] is not None)
        ]
        return keys[number % len(keys)] if keys else None

    # ── what a bank does ──

    def take_back(self, key: Key) -> None:
        """Remove a row, and remember it."""
        self.gone.append(self.rows[key])
        self.bad.pop(key, None)
        self.remove(*key)

    def undelete(self, number: int) -> None:
        """Show a removed row again, as it was."""
        gone = [row for row in self.gone if (row["account_id"], row["transaction_id"]) not in self.rows]
        if gone:
            self.put_row(dict(gone[number % len(gone)]))

    def book(self, key: Key, amount: int, *, link: bool, keep: bool, days: int) -> None:
        """A hold becomes a booking under another id: linked or not, the hold kept or not, of another amount or day."""
        account_id, hold = key
        self.post(account_id, amount, day=TODAY - timedelta(days=days), pending_id=hold if link else None)
        if not (keep and link):
            self.take_back(key)

    def unbook(self, key: Key, *, removed_first: bool) -> None:
        """A booking is taken back, and its hold shown again."""
        row = self.rows[key]
        hold = {**row, "transaction_id": row["pending_transaction_id"], "status": "pending", "booked_on": None,
                "pending_transaction_id": None}  # fmt: skip
        if removed_first:
            self.take_back(key)
        self.put_row(hold)
        if not removed_first:
            self.take_back(key)

    def rekey(self, keys: list[Key], *, removed_first: bool) -> None:
        """The same rows under other ids."""
        for key in keys:
            row = dict(self.rows[key])
            self.serial += 1
            row["transaction_id"] = f"new_{self.serial:06}"
            if removed_first:
                self.take_back(key)
            self.put_row(row)
            if not removed_first:
                self.take_back(key)

    def spoil(self, account_id: str, kind: int) -> None:
        """A new row that must be refused."""
        made = self.post(account_id, -7)
        row = {**self.rows.pop((account_id, made)), **BAD[kind % len(BAD)]}
        self.log.pop()
        key = (account_id, str(row["transaction_id"]))
        if key not in self.rows:
            self.bad[key] = row
            self.put_row(row)

    def spoil_known(self, key: Key) -> None:
        """A row that was good is shown in a currency that is none."""
        self.change(*key, currency="XXX")
        self.bad[key] = self.rows[key]

    def mend(self, number: int) -> None:
        """A bad row is corrected, or, if it has no usable id, taken back."""
        if not self.bad:
            return
        key = list(self.bad)[number % len(self.bad)]
        del self.bad[key]
        if not key[1].strip(" 0"):
            self.remove(*key)
            return
        self.rows[key] |= {
            "currency": self.accounts[key[0]]["currency"],
            "amount_cents": 5,
            "status": "posted",
            "booked_on": TODAY.isoformat(),
            "created_at": f"{TODAY}T12:00:00Z",
            "description": "mended",
        }
        self.log.append(key)

    def state_balances(self) -> None:
        """Each balance that is stated is the sum of what is booked."""
        for account_id in self.balances:
            rows = [row for key, row in self.readable().items() if key[0] == account_id]
            self.balances[account_id]["current_cents"] = sum(
                row["amount_cents"] for row in rows if row["status"] == "posted"
            )


def booked_holds(rows: dict[Key, dict[str, Any]]) -> set[Key]:
    """The holds among the rows whose booking is there too."""
    return {
        (account_id, row["pending_transaction_id"])
        for (account_id, own), row in rows.items()
        if row["status"] == "posted" and row["pending_transaction_id"] not in (None, own)
        and rows.get((account_id, row["pending_transaction_id"]), {}).get("status") == "pending"
    }  # fmt: skip


def plain(row: dict[str, Any]) -> Row:
    """A wire row, field by field."""
    return Row(
        row["account_id"],
        row["transaction_id"],
        row["amount_cents"],
        row["currency"],
        row["status"],
        re.sub("[\0\ud800-\udfff]", "\ufffd", row["description"]),
        row["booked_on"],
        row["pending_transaction_id"],
    )


def same_row(raw: bytes, row: dict[str, Any]) -> bool:
    """Whether quarantined bytes are this wire row."""
    try:
        return bool(json.loads(raw) == json.loads(json.dumps(row)))
    except ValueError:
        return False


def day(days: int) -> date:
    """So many days ago."""
    return TODAY - timedelta(days=days)
