"""Which days are covered: only what a complete listing read, and a gap stays visible until it is read."""

from datetime import timedelta
from typing import Any

import pytest

from banks.ports import BankThrottled, BankUnreachable
from ingest import apply
from ingest.poll import Desk
from ingest.store import QUERIES
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader


async def read(mirror: Mirror, desk: Desk) -> str:
    """One poll of acct_a; its outcome."""
    return (await mirror.poll(desk, "transactions", "acct_a")).outcome


async def kept(mirror: Mirror) -> list[Any]:
    """What tells how far acct_a is covered."""
    covered = await mirror.ask("SELECT covered::text, verified_at FROM sync.coverage")
    return [covered, await mirror.target("(synced_at, complete, bank_as_of)", account_id="acct_a")]


async def told(mirror: Mirror) -> Any:
    """What readers of acct_a hear."""
    query = "SELECT verdict, reason FROM read.feeds WHERE account_id = 'acct_a' AND feed = 'transactions'"
    return (await mirror.ask(query))[0]


async def test_t22_a_gap_is_seen_and_the_next_listing_reads_it(bank: ModelBank, mirror: Mirror) -> None:
    """Ninety days that were never read: answers say so, and one poll later they are read."""
    reader = ModelReader(bank, delta_feed=False)
    desk = await mirror.open(reader)
    await read(mirror, desk)
    first, last = TODAY - timedelta(days=200), TODAY - timedelta(days=111)
    gap = "UPDATE sync.coverage SET covered = covered - datemultirange(daterange(%s, %s, '[]'))"
    await mirror.owner.execute(gap, [first, last])
    assert await told(mirror) == ("partial", f"transactions of acct_a: the days from {first} to {last} were never read")
    bank.post("acct_a", -1, day=TODAY - timedelta(days=150))

    await read(mirror, desk)

    assert await mirror.rows() == bank.good_rows()
    assert (await told(mirror))[0] == "fresh"
    assert await mirror.ask("SELECT covered::text FROM sync.coverage") == [
        (f"{{[1970-01-01,{TODAY + timedelta(days=1)})}}",)
    ]


async def test_a_gap_is_not_swallowed_by_what_is_read_beyond_it(bank: ModelBank, mirror: Mirror) -> None:
    """Days that nobody read stay uncovered, however much is read before and after them."""
    desk = await mirror.open(ModelReader(bank, delta_feed=False))
    await read(mirror, desk)
    await mirror.owner.execute("UPDATE sync.coverage SET covered = '{[1970-01-01,2020-01-01)}'")
    days = {"account_id": "acct_a", "first": TODAY - timedelta(days=9), "last": TODAY, "run_id": 1}

    async with mirror.pool.connection() as connection:
        await connection.execute(QUERIES["coverage_extend"], days)

    assert await mirror.ask("SELECT covered::text FROM sync.coverage") == [
        (f"{{[1970-01-01,2020-01-01),[{TODAY - timedelta(days=9)},{TODAY + timedelta(days=1)})}}",)
    ]
    assert await told(mirror) == (
        "partial",
        f"transactions of acct_a: the days from 2020-01-01 to {TODAY - timedelta(days=10)} were never read",
    )


@pytest.mark.parametrize("outcome", ["throttled", "failed"])
async def test_t26_t27_what_is_not_read_to_its_end_covers_nothing(
    outcome: str, bank: ModelBank, mirror: Mirror
) -> None:
    """Neither "come later" nor a page that fails is "no activity": nothing moves, and the next poll reads the days."""
    reader = ModelReader(bank, delta_feed=False)
    desk = await mirror.open(reader)
    await read(mirror, desk)
    for number in range(9):
        bank.post("acct_a", -number - 1)
    before = await kept(mirror)

    def fail(page: int) -> None:
        if page == 2:
            raise BankThrottled("HTTP 429", None) if outcome == "throttled" else BankUnreachable("HTTP 502")

    reader.before_page = fail
    assert await read(mirror, desk) == outcome

    assert await kept(mirror) == before
    reader.before_page = lambda page: None
    assert await read(mirror, desk) == "complete"
    assert await mirror.rows() == bank.good_rows()


async def test_t26_without_a_commit_there_is_no_success(
    bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal page came, and the transaction failed: no rows, no days, no success."""
    desk = await mirror.open(ModelReader(bank, delta_feed=False))
    await read(mirror, desk)
    bank.post("acct_a", -1)
    before = await kept(mirror)

    async def fail(*_: object) -> None:
        raise RuntimeError("after the rows were written")

    with monkeypatch.context() as patched:
        patched.setattr(apply, "notify_changed", fail)
        assert await read(mirror, desk) == "failed"

    assert (await kept(mirror), await mirror.rows()) == (before, set())


async def test_t24_a_bank_that_posts_late_is_read_further_back(bank: ModelBank, mirror: Mirror) -> None:
    """Entries that came 30 days late are flagged, and the next listings reach 33 days back, of that account only."""
    reader = ModelReader(bank, delta_feed=False)
    bank.post("acct_a", -1, day=TODAY - timedelta(days=300))
    desk = await mirror.open(reader, overlap_days=40)
    await read(mirror, desk)
    assert await mirror.ask("SELECT * FROM read.late_entries") == [], "a first reading is never late"
    late = bank.post("acct_a", -9, day=TODAY - timedelta(days=30))
    bank.post("acct_a", -9, day=TODAY - timedelta(days=1))
    await read(mirror, desk)
    assert await mirror.ask("SELECT transaction_id, booked_on, lag_days FROM read.late_entries") == [
        (late, TODAY - timedelta(days=30), 30)
    ]

    desk = desk._replace(settings=desk.settings.model_copy(update={"overlap_days": 3}))
    bank.post("acct_a", -10, day=TODAY - timedelta(days=32))
    await read(mirror, desk)
    assert reader.windows[-1].first == TODAY - timedelta(days=33)
    assert await mirror.rows() == bank.good_rows()
    await mirror.poll(desk, "transactions", "acct_b")
    await mirror.poll(desk, "transactions", "acct_b")
    assert reader.windows[-1].first == TODAY - timedelta(days=3)


async def test_t24_what_we_did_not_look_for_is_not_late(bank: ModelBank, mirror: Mirror) -> None:
    """After a month without us, an entry of those days is new to us, and no word on how the bank posts."""
    desk = await mirror.open(ModelReader(bank))
    bank.post("acct_a", -1)
    await mirror.poll(desk)
    await mirror.owner.execute("UPDATE sync.runs SET started_at = started_at - interval '30 days'")
    await mirror.owner.execute("UPDATE snapshot.accounts SET first_seen_at = first_seen_at - interval '60 days'")
    bank.post("acct_a", -2, day=TODAY - timedelta(days=20))
    late = bank.post("acct_a", -3, day=TODAY - timedelta(days=35))

    await mirror.poll(desk)

    assert await mirror.ask("SELECT transaction_id, lag_days FROM read.late_entries") == [(late, 5)]


async def test_t17_a_listing_in_stretches_is_of_one_moment(bank: ModelBank, mirror: Mirror) -> None:
    """One id in two versions, in two stretches of a listing that are stored apart: it is read again from page one."""
    for number in range(9):
        bank.post("acct_a", -number - 1)
    reader = ModelReader(bank, delta_feed=False)
    desk = await mirror.open(reader, backfill_chunk_rows=3)

    def shift(page: int) -> None:
        if page == 3:
            # A row is put before the others, so that the last one of the page before is shown once more, changed.
            rows = dict(bank.rows)
            bank.rows.clear()
            bank.post("acct_a", -99)
            bank.rows.update(rows)
            bank.change("acct_a", "txn_000006", amount_cents=-66)
            reader.before_page = lambda page: None

    reader.before_page = shift
    assert await read(mirror, desk) == "complete"

    pages = [cursor for what, cursor in reader.calls if what == "transactions"]
    assert pages.count(None) == 2
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()
