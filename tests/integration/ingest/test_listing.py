"""A bank without a delta feed is read account by account, by windows, and absence is not removal."""

from datetime import timedelta

import pytest

from banks.ports import BankGone, BankUnreachable
from ingest.poll import Desk
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader


def listing(bank: ModelBank) -> ModelReader:
    """A bank that only lists."""
    return ModelReader(bank, delta_feed=False)


async def read(mirror: Mirror, desk: Desk, account_id: str = "acct_a") -> str:
    """One poll of an account; its outcome."""
    return (await mirror.poll(desk, "transactions", account_id)).outcome


async def test_each_account_has_its_own_target(bank: ModelBank, mirror: Mirror) -> None:
    """Targets are made for every account, and the whole history is read first."""
    bank.post("acct_a", -1, day=TODAY - timedelta(days=4_000))
    bank.post("acct_b", -2)
    reader = listing(bank)
    desk = await mirror.open(reader)

    assert [await read(mirror, desk, account) for account in ("acct_a", "acct_b")] == ["complete"] * 2

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.ask("SELECT upper(covered) - 1 FROM sync.coverage") == [(TODAY,)] * 2
    await mirror.check()


async def test_read_mode_listing_overrules_a_delta_feed(bank: ModelBank, mirror: Mirror) -> None:
    """A bank whose feed is broken can be listed; the feed's target rests, and going back wakes it."""
    bank.post("acct_a", -1)
    desk = await mirror.open(ModelReader(bank), read_mode="listing")
    await read(mirror, desk)
    used = "SELECT account_id FROM sync.targets WHERE feed = 'transactions' AND in_use ORDER BY 1"
    assert await mirror.ask(used) == [("acct_a",), ("acct_b",)]

    await mirror.open(ModelReader(bank))

    assert await mirror.ask(used) == [("",)]


async def test_t16_page_two_fails(bank: ModelBank, mirror: Mirror) -> None:
    """B2: nothing of a listing that breaks off is kept."""
    for number in range(7):
        bank.post("acct_a", -number - 1)
    reader = listing(bank)
    desk = await mirror.open(reader)

    def fail(page: int) -> None:
        if page == 2:
            raise BankUnreachable("HTTP 502")

    reader.before_page = fail

    assert await read(mirror, desk) == "failed"
    assert await mirror.rows() == set()
    assert await mirror.ask("SELECT * FROM sync.coverage") == []


async def test_t22_a_gap_of_ninety_days_heals(bank: ModelBank, mirror: Mirror) -> None:
    """After three months without us the window reaches back to what is covered, less the overlap."""
    reader = listing(bank)
    desk = await mirror.open(reader)
    await read(mirror, desk)
    gap = "UPDATE sync.coverage SET covered = datemultirange(daterange('1970-01-01', current_date - 90, '[]'))"
    await mirror.owner.execute(gap)
    bank.post("acct_a", -1, day=TODAY - timedelta(days=80))

    await read(mirror, desk)

    assert await mirror.rows() == bank.good_rows()
    assert reader.windows[-1].first == TODAY - timedelta(days=104)


async def test_t24_backdated_inside_the_overlap(bank: ModelBank, mirror: Mirror) -> None:
    """A row booked twelve days back that appears today is found."""
    desk = await mirror.open(listing(bank))
    await read(mirror, desk)
    bank.post("acct_a", -9, day=TODAY - timedelta(days=12))

    await read(mirror, desk)

    assert await mirror.rows() == bank.good_rows()


async def test_a_row_missing_twice_is_removed(bank: ModelBank, mirror: Mirror) -> None:
    """One complete listing without a row says nothing; the second, an interval later, removes it."""
    ids = [bank.post("acct_a", -number - 1) for number in range(10)]
    desk = await mirror.open(listing(bank))
    await read(mirror, desk)
    bank.remove("acct_a", ids[3])

    await read(mirror, desk)
    assert len(await mirror.rows()) == 10, "one look is not enough"
    await read(mirror, desk)
    assert len(await mirror.rows()) == 10, "the second look came too soon"
    await mirror.pass_interval()
    await read(mirror, desk)

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.history(ids[3]) == [("absent", -4)]
    await mirror.check()


async def test_a_pass_longer_than_the_interval_is_one_look(bank: ModelBank, mirror: Mirror) -> None:
    """However long a listing in chunks takes, what it misses was missed once; the next one removes it."""
    ids = [bank.post("acct_a", -number - 1) for number in range(10)]
    desk = await mirror.open(listing(bank), backfill_chunk_rows=3, poll_seconds=0.000_001)
    await read(mirror, desk)
    bank.remove("acct_a", ids[0])

    await read(mirror, desk)
    assert len(await mirror.rows()) == 10, "one look is not enough"
    await read(mirror, desk)

    assert await mirror.rows() == bank.good_rows()


async def test_t23_a_row_that_slips_between_pages_stays(bank: ModelBank, mirror: Mirror) -> None:
    """The list moves while it is paged and skips a row; the row stays, and its note is dropped later."""
    for number in range(9):
        bank.post("acct_a", -number - 1)
    reader = listing(bank)
    desk = await mirror.open(reader)
    await read(mirror, desk)

    def shift(page: int) -> None:
        if page == 2:
            bank.remove("acct_a", "txn_000001")
            reader.before_page = lambda page: None

    reader.before_page = shift
    await read(mirror, desk)
    assert {row[1] for row in await mirror.rows()} >= {"txn_000004"}
    assert ("txn_000004",) in await mirror.ask("SELECT transaction_id FROM sync.missing")
    for _ in range(2):
        await mirror.pass_interval()
        await read(mirror, desk)

    assert await mirror.rows() == bank.good_rows()


async def test_b8_one_id_with_two_contents_is_a_mutation(bank: ModelBank, mirror: Mirror) -> None:
    """The same row on two pages with different contents voids the pass; it is read again from page one."""
    for number in range(6):
        bank.post("acct_a", -number - 1)
    reader = listing(bank)
    desk = await mirror.open(reader)

    def shift(page: int) -> None:
        if page == 2:
            rows = dict(bank.rows)
            bank.rows.clear()
            bank.post("acct_a", -99)
            bank.rows.update(rows)
            bank.change("acct_a", "txn_000003", amount_cents=-33)
            reader.before_page = lambda page: None

    reader.before_page = shift
    assert await read(mirror, desk) == "complete"

    assert [cursor for what, cursor in reader.calls if what == "transactions"] == [None, "3", "6"] * 2
    assert await mirror.rows() == bank.good_rows()


async def test_b10_an_empty_list_where_rows_existed(bank: ModelBank, mirror: Mirror) -> None:
    """The breaker opens: nothing is removed however often it happens, and it heals when the rows are back."""
    for number in range(8):
        bank.post("acct_a", -number - 1)
    desk = await mirror.open(listing(bank))
    await read(mirror, desk)
    rows = dict(bank.rows)
    bank.rows.clear()
    for _ in range(3):
        assert await read(mirror, desk) == "partial"
        await mirror.pass_interval()
    assert len(await mirror.rows()) == 8
    assert await mirror.target("complete", account_id="acct_a") is False
    bank.rows.update(rows)

    assert await read(mirror, desk) == "complete"

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.target("(complete, last_error)", account_id="acct_a") == ("t", None)
    assert await mirror.ask("SELECT * FROM sync.missing") == []


async def test_a_doubted_pass_is_no_first_look(bank: ModelBank, mirror: Mirror) -> None:
    """What a doubted listing did not show was not missed once yet: it takes two looks that are believed."""
    ids = [bank.post("acct_a", -number - 1) for number in range(8)]
    desk = await mirror.open(listing(bank))
    await read(mirror, desk)
    rows = dict(bank.rows)
    bank.rows.clear()
    await read(mirror, desk)
    bank.rows.update(rows)
    bank.remove("acct_a", ids[0])
    await mirror.pass_interval()

    await read(mirror, desk)

    assert len(await mirror.rows()) == 8


async def test_a_pass_that_broke_off_is_no_first_look(bank: ModelBank, mirror: Mirror) -> None:
    """Its notes are dropped when the next pass begins, also of days that the next pass does not cover."""
    old = bank.post("acct_a", -1, day=TODAY - timedelta(days=2_000))
    reader = listing(bank)
    desk = await mirror.open(reader)
    await read(mirror, desk)

    def fail(page: int) -> None:
        raise BankUnreachable("HTTP 500")

    reader.before_page = fail
    await read(mirror, desk)
    reader.before_page = lambda page: None
    note = (
        "INSERT INTO sync.missing (account_id, transaction_id, run_id) SELECT 'acct_a', %s, max(run_id) FROM sync.runs"
    )
    await mirror.owner.execute(note, [old])
    await read(mirror, desk)
    bank.remove("acct_a", old)
    await mirror.owner.execute("DELETE FROM sync.coverage")
    await mirror.pass_interval()

    await read(mirror, desk)

    assert {row[1] for row in await mirror.rows()} == {old}, "one complete look is not enough"


async def test_a_long_listing_resumes_inside_its_window(bank: ModelBank, mirror: Mirror) -> None:
    """A history larger than a chunk is stored in chunks; a run that follows a failure goes on from there."""
    for number in range(30):
        bank.post("acct_a", -number - 1)
    reader = listing(bank)
    desk = await mirror.open(reader, backfill_chunk_rows=6)

    def fail(page: int) -> None:
        if page == 6:
            raise BankUnreachable("HTTP 500")

    reader.before_page = fail
    assert await read(mirror, desk) == "failed"
    assert len(await mirror.rows()) == 12
    reader.before_page = lambda page: None
    reader.calls.clear()

    assert await read(mirror, desk) == "complete"

    assert reader.calls[0] == ("transactions", "12")
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


async def test_a_pending_entry_that_lapses_disappears(bank: ModelBank, mirror: Mirror) -> None:
    """T5: a hold from before the overlap stays inside the window until it is settled or gone."""
    old = bank.hold("acct_a", -100, day=TODAY - timedelta(days=30))
    reader = listing(bank)
    desk = await mirror.open(reader)
    await read(mirror, desk)
    bank.remove("acct_a", old)
    for _ in range(2):
        await read(mirror, desk)
        await mirror.pass_interval()

    await read(mirror, desk)

    assert reader.windows[1].first < TODAY - timedelta(days=30)
    assert await mirror.rows() == set()


async def test_t52_t53_an_account_that_is_gone_is_parked(bank: ModelBank, mirror: Mirror) -> None:
    """410 is final: the account's feed rests with the reason, its rows stay."""
    bank.post("acct_a", -1)
    reader = listing(bank)
    desk = await mirror.open(reader)
    await read(mirror, desk)

    def gone(page: int) -> None:
        raise BankGone("HTTP 410")

    reader.before_page = gone
    await read(mirror, desk)

    assert await mirror.target("parked_reason", account_id="acct_a") == "bank-account-gone: HTTP 410"
    assert len(await mirror.rows()) == 1
    with pytest.raises(AssertionError):
        await mirror.claim(desk, "transactions", "acct_a")
