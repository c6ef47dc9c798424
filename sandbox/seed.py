"""A new bank: its schema, its accounts and about four hundred days of history.

Everything happens in one transaction under an advisory lock. A database that has a bank keeps it.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sandbox.entries import Account, Entry
from sandbox.schedule import PAYROLL, entries_due
from sandbox.store import Connection, fetch_one, fetch_row, named, read_sql, run
from sandbox.words import CUSTOMERS, MERCHANTS, MINOR_PER_DOLLAR, VENDORS, minor

log = logging.getLogger(__name__)

HISTORY: Final = timedelta(days=400)
_CLOSED_BEFORE: Final = timedelta(days=180)
_CLOSING_CENTS: Final = 1_250_000
# A slice is sorted in memory; this many rows take about 100 MB in PostgreSQL and a second or two.
_SLICE_ROWS: Final = 250_000
# Standing orders are realistic only among everyday business: of a short history they are at most this share.
_STANDING_SHARE: Final = 0.6

_SQL: Final = named(read_sql("seed.sql"))


@dataclass(frozen=True)
class Plan:
    """An account to open and what its balance is to be today, in minor units."""

    account: Account
    balance_cents: int
    available_told: bool = True


async def prepare(conn: Connection, *, seed: int, accounts: int, transactions: int, now: datetime) -> bool:
    """Make the database a bank. True if it was none before."""
    async with conn.transaction():
        await run(conn, "setup_lock")
        if (await fetch_row(conn, "ledger_exists"))["found"]:
            # Another process may be writing: it and this would wait for each other's tables in turn.
            await run(conn, "ledger_lock")
        await conn.execute(read_sql("schema.sql"))
        new = await fetch_one(conn, "ledger_get") is None
        if new:
            await _load(conn, seed=seed, plans=plan_accounts(seed, accounts), transactions=transactions, now=now)
        await conn.execute(read_sql("indexes.sql"))
    if new:
        await conn.execute("ANALYZE bank.transactions")
    return new


def plan_accounts(seed: int, count: int) -> list[Plan]:
    """The accounts of a bank: five known ones, the sixth closed, the seventh for savings, then a mix."""
    known = [
        ("acct_123", "Operating", "USD", 25_000_000),
        ("acct_456", "Payroll", "USD", 8_000_000),
        ("acct_eur_001", "Euro Operating", "EUR", 6_000_000),
        ("acct_jpy_001", "Tokyo Office", "JPY", 6_000_000),
        ("acct_kwd_001", "Kuwait Office", "KWD", 6_000_000),
    ]
    plans = [
        Plan(Account(account_id, ordinal, name, "checking", currency, "open", 0), minor(dollar_cents, currency))
        for ordinal, (account_id, name, currency, dollar_cents) in enumerate(known[:count], 1)
    ]
    return plans + [_generated(seed, ordinal) for ordinal in range(len(known) + 1, count + 1)]


def _generated(seed: int, ordinal: int) -> Plan:
    digest = hashlib.blake2b(f"{seed}/account/{ordinal}".encode(), digest_size=5).hexdigest()
    draw = int(digest, 16)
    account = Account(f"acct_{digest}", ordinal, f"Operating {ordinal}", "checking", "USD", "open", 0)
    if ordinal == 6:
        return Plan(replace(account, name="Old Operating", status="closed"), 0)
    if ordinal == 7 or draw % 7 == 0:
        # Every other savings account does not say what is available.
        return Plan(replace(account, name=f"Reserve {ordinal}", type="savings"), 12_000_000, ordinal % 2 == 0)
    currency = "EUR" if draw % 5 == 0 else "USD"
    return Plan(replace(account, currency=currency), minor(4_000_000 + draw % 3_000_000, currency))


def _standing(seed: int, plans: Sequence[Plan], began: datetime, until: datetime, limit: int) -> list[Entry]:
    accounts = [plan.account for plan in plans]
    entries = entries_due(seed, accounts, began, until)[-limit:] if limit > 0 else []
    closed_at = until - _CLOSED_BEFORE + timedelta(hours=15)
    for account in (a for a in accounts if a.status == "closed"):
        entries += entries_due(seed, [replace(account, status="open")], began, closed_at)[-limit // 20 - 1 :]
        account_id, booked_on = account.account_id, closed_at.date()
        entries.append(Entry(account_id, -_CLOSING_CENTS, "wire", "ACCOUNT CLOSED", closed_at, booked_on))
    return entries


async def _load(conn: Connection, *, seed: int, plans: Sequence[Plan], transactions: int, now: datetime) -> None:
    # The bank begins at midnight, so that a day has one history; living up to now is the first tick's work.
    until = datetime(now.year, now.month, now.day, tzinfo=UTC)
    began = until - HISTORY
    standing = _standing(seed, plans, began, until, int(transactions * _STANDING_SHARE))
    everyday = max(transactions - len(plans) - len(standing), 0)
    # No limit on time: ten million rows take minutes, and nothing else runs yet.
    await conn.execute("SET LOCAL statement_timeout = 0")
    await conn.execute("SET LOCAL work_mem = '128MB'")
    await conn.execute("SET LOCAL maintenance_work_mem = '512MB'")
    await run(conn, "accounts_open", rows=json.dumps([_opened(plan) for plan in plans]))
    await _stage(conn, plans, standing)
    started = time.monotonic()
    head = len(plans)
    for first in range(0, max(everyday, 1), _SLICE_ROWS):
        last = min(first + _SLICE_ROWS, everyday)
        head += await _load_slice(conn, seed, began, until, first, last, everyday, head)
        log.info("history: %d of %d transactions, %.1f s", head, transactions, time.monotonic() - started)
    wanted = [{"account_id": p.account.account_id, "balance_cents": p.balance_cents} for p in plans]
    await conn.execute(_SQL["openings_insert"], {"rows": json.dumps(wanted), "seed": seed, "began": began})
    await run(conn, "ledger_open", seed=seed, bank_time=until, head=head)


async def _load_slice(
    conn: Connection,
    seed: int,
    began: datetime,
    until: datetime,
    first: int,
    last: int,
    total: int,
    head: int,
) -> int:
    span = until - began
    total = max(total, 1)
    cursor = await conn.execute(
        _SQL["history_insert"],
        {
            "seed": seed, "first": first, "last": last, "total": total, "head": head,
            "began": began, "span": span,
            "standing_after": began + span * (first / total) if first else began,
            "standing_until": began + span * (last / total) if last and last < total else until,
            "merchants": len(MERCHANTS), "customers": len(CUSTOMERS), "vendors": len(VENDORS),
        },
    )  # fmt: skip
    return cursor.rowcount


async def _stage(conn: Connection, plans: Sequence[Plan], standing: Sequence[Entry]) -> None:
    await conn.execute(_SQL["stage_create"])
    await conn.execute(_SQL["stage_cards_insert"], {"rows": json.dumps(_cards(plans))})
    await conn.execute(_SQL["stage_names_insert"], {"rows": json.dumps(_names())})
    async with conn.cursor().copy(_SQL["stage_standing_copy"]) as copy:
        for e in standing:
            await copy.write_row(
                (e.created_at, e.account_id, e.amount_cents, e.type, e.description, e.booked_on,
                 e.counterparty_name, e.counterparty_account_id)
            )  # fmt: skip


def _opened(plan: Plan) -> dict[str, Any]:
    a = plan.account
    return {
        "account_id": a.account_id, "ordinal": a.ordinal, "name": a.name, "type": a.type,
        "currency": a.currency, "status": a.status, "available_told": plan.available_told,
    }  # fmt: skip


def _cards(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """What everyday business runs over: checking accounts but payroll; the first has three shares."""
    open_checking = [p.account for p in plans if p.account.type == "checking" and p.account.status == "open"]
    spenders = [a for a in open_checking if a.account_id != PAYROLL]
    return [
        {"place": place, "account_id": a.account_id, "currency": a.currency,
         "minor_per_dollar": MINOR_PER_DOLLAR[a.currency]}
        for place, a in enumerate(spenders[:1] * 2 + spenders)
    ]  # fmt: skip


def _names() -> list[dict[str, Any]]:
    shops = [("card", place, *merchant) for place, merchant in enumerate(MERCHANTS)]
    customers = [("receipt", place, name, name, 20_000, 320_000) for place, name in enumerate(CUSTOMERS)]
    vendors = [("bill", place, name, name, 9_000, 190_000) for place, name in enumerate(VENDORS)]
    fees = [("fee", 0, "", "WIRE FEE", 1_500, 1_500)]
    keys = ("kind", "place", "name", "descriptor", "low_cents", "high_cents")
    return [dict(zip(keys, row, strict=True)) for row in (*shops, *customers, *vendors, *fees)]
