"""What every changeset ends with, in its own transaction: refused rows, the target, the run, the notification."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from banks.ports import BankError, Refused, Window
from ingest import decide
from ingest.pace import Pace
from ingest.store import QUERIES, Claim, failure, fetch_row, run_query
from kernel.database import Connection

# PostgreSQL limits a payload to 8000 bytes. A listener that hears null drops everything, which is always right.
NOTIFY_BYTES_MAX = 7_500


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a run has come with what is applied.

    `outcome` is the run's state afterwards; `cursor` and `checkpoint` are what the target goes on from;
    `spread` is a factor from one up that keeps a thousand feeds from being due at the same moment; `pace` is None for
    a run that leaves the pace to the process that stays.
    """

    outcome: Literal["running", "partial", "complete"]
    cursor_from: str | None = None
    cursor: str | None = None
    checkpoint: str | None = None
    spread: float = 1.0
    pace: Pace | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What was stored. `doubt` is set when so much was absent that the bank's answer is not taken for
    complete.
    """

    rows_seen: int = 0
    rows_changed: int = 0
    rows_removed: int = 0
    rows_refused: int = 0
    pages: int = 0
    doubt: BankError | None = None
    unknown_accounts: Sequence[str] = ()

    def __add__(self, later: "Applied") -> "Applied":
        return Applied(
            self.rows_seen + later.rows_seen,
            self.rows_changed + later.rows_changed,
            self.rows_removed + later.rows_removed,
            self.rows_refused + later.rows_refused,
            self.pages + later.pages,
            later.doubt or self.doubt,
            (*self.unknown_accounts, *later.unknown_accounts),
        )


NOTHING = Applied()


async def keep_refused(
    connection: Connection,
    claim: Claim,
    refused: Sequence[Refused],
    *,
    shows_all: bool,
    window: Window | None = None,
    last_before: int | None = None,
) -> None:
    """Keep refused rows; as a pass over everything, or over a window, is complete, resolve those that it does not show
    any more. `last_before` is the last run before the pass, where that is not the last one that was complete.
    """
    if refused:
        await run_query(
            connection,
            "quarantine_upsert",
            {
                **claim.key,
                "run_id": claim.run_id,
                "accounts": [row.account_id for row in refused],
                "ids": [row.transaction_id for row in refused],
                "days": [row.day for row in refused],
                "reasons": [row.reason for row in refused],
                "raws": [row.raw for row in refused],
            },
        )
    if shows_all or window is not None:
        scope = {
            **claim.key,
            "last_complete": last_before
            if last_before is not None
            else (await fetch_row(connection, "run_last_complete", claim.key))["run_id"],
            "shows_all": shows_all,
            "first": None if window is None else window.first,
            "last": None if window is None else window.last,
        }
        await run_query(connection, "quarantine_resolve", scope)


async def unknown_accounts(connection: Connection, account_ids: Sequence[str]) -> Sequence[str]:
    """Which of these the bank has not listed as accounts yet."""
    if not account_ids:
        return ()
    cursor = await connection.execute(QUERIES["accounts_unknown"], {"ids": list(account_ids)})
    return [row[0] for row in await cursor.fetchall()]


async def save_advance(
    connection: Connection, claim: Claim, advance: Advance, applied: Applied, as_of: datetime | None
) -> None:
    """Save the target and the run. A doubted pass keeps its rows but counts as a failure, and is not
    complete.
    """
    if applied.doubt is None:
        changed = applied.rows_changed + applied.rows_removed > 0
        pace = advance.pace
        await run_query(
            connection,
            "target_advance",
            {
                **claim.key,
                "outcome": advance.outcome,
                "cursor": advance.cursor,
                "checkpoint": advance.checkpoint,
                "complete": advance.outcome == "complete",
                "payload": _payload(claim, [claim.account_id] if claim.account_id else None),
                "spread": advance.spread,
                "changed": changed,
                "quick_seconds": None if pace is None else pace.quick_seconds,
                "interval_seconds": None if pace is None else pace.interval(0 if changed else claim.silent_seconds),
                "started_at": claim.started_at,
                "bank_as_of": as_of,
            },
        )
    else:
        delay = decide.retry_delay(applied.doubt, claim.failures + 1, jitter=1.0)
        await run_query(connection, "target_fail", failure(claim, applied.doubt, delay, void=True, doubted=True))
    await run_query(
        connection,
        "run_advance",
        {
            "run_id": claim.run_id,
            "outcome": advance.outcome if applied.doubt is None else "partial",
            "error": None if applied.doubt is None else str(applied.doubt),
            "pages": applied.pages,
            "rows_seen": applied.rows_seen,
            "rows_changed": applied.rows_changed,
            "rows_removed": applied.rows_removed,
            "rows_refused": applied.rows_refused,
            "cursor_from": advance.cursor_from,
            "cursor_to": advance.cursor or advance.checkpoint,
            "bank_as_of": as_of,
        },
    )


async def notify_changed(connection: Connection, claim: Claim, accounts: Sequence[str] | None) -> None:
    """Tell listeners which accounts have other rows, None for many; they hear it at the commit.

    What only moves the verdict on a feed is told by triggers of the tables that it rests on.
    """
    await run_query(connection, "changed_notify", {"payload": _payload(claim, accounts)})


def _payload(claim: Claim, accounts: Sequence[str] | None) -> str:
    payload = json.dumps({"accounts": accounts, "run_id": claim.run_id})
    return payload if len(payload) <= NOTIFY_BYTES_MAX else json.dumps({"accounts": None, "run_id": claim.run_id})
