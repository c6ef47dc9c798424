"""What a sweep may not say or show between its stretches: no doubt is settled early, no entry is there twice."""

from datetime import timedelta
from typing import Any

from banks.ports import BankUnreachable
from ingest import rulings
from ingest.poll import Desk, poll
from ingest.sweep import sweep
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader
from tests.integration.ingest.test_sweep import BOTH_WAYS, OLD, account, opened, read, state, swept

# Small stretches, each with time for one transaction only.
STEPS: dict[str, Any] = {"backfill_chunk_rows": 2, "poll_seconds": 0.000_001}


async def verdict(mirror: Mirror) -> tuple[str, int]:
    """What is said of the transactions of acct_a, and how many of its entries are refused."""
    (found,) = await mirror.ask(
        "SELECT verdict::text, entries_refused FROM read.feeds WHERE (account_id, feed) = ('acct_a', 'transactions')"
    )
    return found[0], found[1]


async def money(mirror: Mirror) -> int:
    """What the mirrored transactions come to."""
    return int((await mirror.ask("SELECT coalesce(sum(amount_minor), 0) FROM snapshot.transactions"))[0][0])


def give_new_ids(bank: ModelBank) -> int:
    """All ids change in silence, and no feed says so. Returns what the rows come to."""
    rows = [{**row, "transaction_id": f"new_{row['transaction_id']}"} for row in bank.rows.values()]
    bank.rows = {(row["account_id"], row["transaction_id"]): row for row in rows}
    bank.log = list(bank.rows)
    return sum(row["amount_cents"] for row in rows)


async def test_t44_a_slice_settles_no_doubt_about_other_days(bank: ModelBank, mirror: Mirror) -> None:
    """The first slice of days begins where history does, and still says nothing of an entry refused three weeks ago."""
    bank.page_rows = 1
    bank.post("acct_a", 0, day=TODAY - timedelta(days=20), transaction_id="bad", amount_cents="12.3")
    desk = await opened(bank, mirror, delta_feed=False, **STEPS)
    assert await verdict(mirror) == ("partial", 1)

    for _ in range(30):
        await swept(mirror, desk)
        assert await verdict(mirror) == ("partial", 1)
        if (await state(mirror))[3]:
            break
    assert (await state(mirror))[3], "the sweep is through"

    bank.rows.pop(("acct_a", "bad"))
    for _ in range(30):
        await swept(mirror, desk)
        if (await verdict(mirror))[1] == 0:
            break
    assert await mirror.ask("SELECT resolution FROM sync.quarantine") == [("not shown",)]


@BOTH_WAYS
async def test_t10_new_ids_found_by_a_sweep_double_nothing(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Old and new ids never stand beside each other in an answer that is called fresh, however long the sweep takes."""
    bank.page_rows = 1
    for number in range(6):
        bank.post("acct_a", -100 - number, day=OLD)
    desk = await opened(bank, mirror, delta_feed=delta_feed, **STEPS)
    total = give_new_ids(bank)

    for _ in range(40):
        # Where a slice has few of them, the next sweep is the second look.
        await mirror.owner.execute("UPDATE sync.sweeps SET due_at = now() WHERE run_id IS NULL")
        await sweep(desk, await read_on(mirror, desk))
        assert await money(mirror) == total or (await verdict(mirror))[0] == "partial"
        if await mirror.rows() == bank.good_rows():
            break

    assert await mirror.rows() == bank.good_rows()
    assert {ended[0] for ended in await mirror.ask("SELECT ended_by FROM snapshot.transaction_revisions")} == {
        "rekeyed"
    }
    await mirror.check()


async def read_on(mirror: Mirror, desk: Desk) -> Any:
    """One poll, complete or not."""
    claim = await mirror.claim(desk, "transactions", account(desk))
    await poll(desk, claim)
    return claim


async def test_t10_a_slice_is_stored_as_a_whole(bank: ModelBank, mirror: Mirror) -> None:
    """A day with more rows than a stretch breaks off in the middle: none of its new ids stands beside an old one."""
    bank.page_rows = 1
    for number in range(6):
        bank.post("acct_a", -100 - number, day=OLD)
    desk = await opened(bank, mirror, delta_feed=False, rows=0, **STEPS)
    reader = desk.bank
    assert isinstance(reader, ModelReader)
    total = give_new_ids(bank)
    await mirror.owner.execute("UPDATE sync.sweeps SET due_at = now() WHERE run_id IS NULL")
    claim = await read(mirror, desk)

    def fail(page: int) -> None:
        if page == 5:
            raise BankUnreachable("HTTP 502")

    reader.before_page = fail
    await sweep(desk, claim)

    assert await money(mirror) == total


@BOTH_WAYS
async def test_t7_a_sweep_that_refuses_rewritten_rows_asks(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Three old entries have another amount, day and text. Nothing is stored, answers are partial, and when somebody
    says that it is right, the next sweep takes it.
    """
    desk = await opened(bank, mirror, delta_feed=delta_feed)
    for number in (3, 5, 7):
        bank.rows["acct_a", f"txn_{number:06}"].update(
            amount_cents=-1_000 - number,
            booked_on=(OLD + timedelta(days=20 + number)).isoformat(),
            description=f"Corrected {number}",
        )
    bank.log = list(bank.rows)
    await read(mirror, desk)

    for _ in range(2):
        await swept(mirror, desk)
        assert await mirror.rows() != bank.good_rows()
        assert (await verdict(mirror))[0] == "partial"
    assert [feed.account_id for feed in await rulings.list_refused(mirror.pool)] == [account(desk)]
    await rulings.accept_changes(mirror.pool, "default", account(desk), "ann", "the bank has confirmed it")
    for _ in range(3):
        await swept(mirror, desk)

    assert await mirror.rows() == bank.good_rows()
    assert await rulings.list_refused(mirror.pool) == []
    assert (await verdict(mirror))[0] == "fresh"
    await mirror.check()
