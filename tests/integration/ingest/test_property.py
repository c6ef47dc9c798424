"""Whatever the bank does, however polls break off: then the mirror equals the bank, and replay is silent."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from banks.ports import BankUnreachable, CursorExpired, MutatedDuringPagination
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader

ACCOUNTS = st.sampled_from(["acct_a", "acct_b"])
AMOUNTS = st.integers(-5_000, 5_000)
PICK = st.integers(0, 50)
FAULTS: dict[str, BaseException] = {
    "fail": BankUnreachable("HTTP 500"),
    "mutate": MutatedDuringPagination("HTTP 409"),
    "expire": CursorExpired("HTTP 410"),
    "kill": asyncio.CancelledError(),
}
OPERATION = st.one_of(
    st.tuples(st.just("post"), ACCOUNTS, AMOUNTS, st.integers(0, 10)),
    st.tuples(st.just("hold"), ACCOUNTS, AMOUNTS),
    st.tuples(st.just("settle"), PICK, AMOUNTS, st.booleans()),
    st.tuples(st.just("change"), PICK, AMOUNTS, st.integers(0, 10)),
    st.tuples(st.just("remove"), PICK),
    st.tuples(st.just("unpost"), PICK, AMOUNTS, st.booleans()),
    st.tuples(st.just("poll")),
    st.tuples(st.just("poll"), st.sampled_from(list(FAULTS)), st.integers(1, 3)),
)


def operate(bank: ModelBank, name: str, *choice: Any) -> None:
    """One thing that happens at the bank; nothing if there is nothing to pick."""
    keys = list(bank.rows)
    match name, choice:
        case "post", (account, amount, days):
            bank.post(account, amount, day=TODAY - timedelta(days=days))
        case "hold", (account, amount):
            bank.hold(account, amount)
        case "settle", (pick, amount, keep):
            pending = [key for key in keys if bank.rows[key]["status"] == "pending" and not _successor(bank, key)]
            if pending:
                account, hold = pending[pick % len(pending)]
                bank.settle(account, hold, amount, keep_pending=keep)
        case "change", (pick, amount, days) if keys:
            key = keys[pick % len(keys)]
            fields: dict[str, Any] = {"amount_cents": amount}
            if bank.rows[key]["status"] == "posted":
                fields["booked_on"] = (TODAY - timedelta(days=days)).isoformat()
            bank.change(*key, **fields)
        case "remove", (pick,) if keys:
            bank.remove(*keys[pick % len(keys)])
        case "unpost", (pick, amount, removed_first):
            settled = [key for key in keys if bank.rows[key]["pending_transaction_id"]]
            if settled:
                account, posted = settled[pick % len(settled)]
                row = bank.rows[account, posted]
                hold = {
                    **row,
                    "transaction_id": row["pending_transaction_id"],
                    "amount_cents": amount,
                    "status": "pending",
                    "booked_on": None,
                    "pending_transaction_id": None,
                }
                bank.unpost(account, posted, hold, removed_first=removed_first)


def _successor(bank: ModelBank, key: tuple[str, str]) -> bool:
    return any(row["pending_transaction_id"] == key[1] and row["account_id"] == key[0] for row in bank.rows.values())


def expected(bank: ModelBank) -> set[tuple[Any, ...]]:
    """The bank's rows, less the holds whose booking is there too: that is the same money."""
    return {row for row in bank.good_rows() if not _successor(bank, (row[0], row[1]))}


async def poll_all(mirror: Mirror, desk: Any, fault: tuple[str, int] | None = None) -> None:
    """Poll every transactions target once, with one fault on a page."""
    reader = desk.bank
    if fault is not None:
        kind, number = fault
        left = [1]

        def strike(page: int) -> None:
            if page == number and left:
                left.pop()
                raise FAULTS[kind]

        reader.before_page = strike
    accounts = [""] if reader.capabilities.delta_feed else ["acct_a", "acct_b"]
    for account in accounts:
        with suppress(asyncio.CancelledError):
            await mirror.poll(desk, "transactions", account)
        await mirror.check()
    reader.before_page = lambda page: None


async def empty(mirror: Mirror) -> None:
    """A database as it was before any bank, with what hangs on the connection."""
    await mirror.owner.execute(
        "TRUNCATE snapshot.accounts, snapshot.transactions, snapshot.transaction_revisions,"
        " snapshot.balances, snapshot.balance_snapshots, snapshot.daily_totals, sync.targets, sync.runs,"
        " sync.coverage, sync.missing, sync.hidden_holds, sync.quarantine, sync.connections, sync.newcomers,"
        " sync.account_links, sync.positional_ids, sync.confirmations, sync.breakers, sync.breaker_decisions,"
        " sync.sweeps, sync.late_entries, snapshot.transaction_links CASCADE"
    )


@settings(
    # Few: tests/torture does much more of it, with kills and with what is on the wire.
    max_examples=15,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(
    delta_feed=st.booleans(),
    page_rows=st.integers(1, 4),
    chunk_rows=st.sampled_from([2, 5, 1_000]),
    operations=st.lists(OPERATION, max_size=30),
)
@example(  # A booking and its hold in different chunks of one pass, which is then voided.
    delta_feed=True,
    page_rows=1,
    chunk_rows=2,
    operations=[
        ("hold", "acct_a", -5),
        ("post", "acct_a", 1, 0),
        ("settle", 0, -6, True),
        ("poll", "mutate", 3),
    ],
)
@example(  # Un-posted: the hold is shown again while the booking is still there, which goes in another chunk.
    delta_feed=True,
    page_rows=1,
    chunk_rows=1,
    operations=[
        ("hold", "acct_a", -5),
        ("poll",),
        ("settle", 0, -6, False),
        ("poll",),
        ("unpost", 0, -5, False),
    ],
)
async def test_i8_i18_mirror_equals_bank_after_anything(
    delta_feed: bool,
    page_rows: int,
    chunk_rows: int,
    operations: list[tuple[Any, ...]],
    mirror: Mirror,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Posts, holds, settlements, corrections, removals; failures, void passes, lost cursors, sudden ends."""
    # In these small windows half of the rows may rightly go at once; the breaker has tests of its own.
    monkeypatch.setattr("ingest.decide.ABSENCE_ROWS_MAX", 1_000)
    await empty(mirror)
    bank = ModelBank(page_rows=page_rows)
    bank.open_account("acct_a")
    bank.open_account("acct_b", currency="JPY")
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed), backfill_chunk_rows=chunk_rows)
    for name, *choice in operations:
        if name == "poll":
            await poll_all(mirror, desk, tuple(choice) if choice else None)
        else:
            operate(bank, name, *choice)

    for _ in range(4):
        await poll_all(mirror, desk)
        await mirror.pass_interval()
    assert await mirror.rows() == expected(bank)

    before = await mirror.everything()
    await mirror.owner.execute("UPDATE sync.targets SET cursor = NULL")
    await mirror.owner.execute("DELETE FROM sync.coverage")
    await poll_all(mirror, desk)
    assert await mirror.everything() == before
