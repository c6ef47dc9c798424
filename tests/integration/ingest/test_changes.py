"""A delta feed is applied exactly: every version, every total, every end of a row."""

from datetime import timedelta
from itertools import permutations

import pytest

from banks.ports import BankUnreachable, CursorExpired, MutatedDuringPagination
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader


async def test_t21_every_page_is_read(bank: ModelBank, mirror: Mirror) -> None:
    """2,500 transactions on pages of 50 are 2,500 rows, not the first page."""
    bank.page_rows = 50
    for number in range(2_500):
        bank.post("acct_a", -number - 1)
    desk = await mirror.open(ModelReader(bank))

    polled = await mirror.poll(desk)

    assert (polled.outcome, polled.applied.rows_changed, polled.applied.pages) == ("complete", 2_500, 50)
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


async def test_a_changed_row_keeps_its_former_version(bank: ModelBank, mirror: Mirror) -> None:
    """T29, T32, X10: a booked row whose amount changes is changed, and what we believed before is kept."""
    txn = bank.post("acct_a", -500)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    bank.change("acct_a", txn, amount_cents=-700, booked_on=(TODAY - timedelta(days=40)).isoformat())

    polled = await mirror.poll(desk)

    assert polled.applied.rows_changed == 1
    assert await mirror.rows() == bank.good_rows()
    assert await mirror.history(txn) == [("changed", -500)]
    await mirror.check()


async def test_i18_replaying_changes_nothing(bank: ModelBank, mirror: Mirror) -> None:
    """The same pages again, from any cursor, leave the database as it is, row for row and total for total."""
    hold = bank.hold("acct_a", -1_000)
    for number in range(7):
        bank.post("acct_a", 100 + number)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    bank.settle("acct_a", hold, -1_150)
    bank.change("acct_a", "txn_000003", description="Tea")
    bank.remove("acct_a", "txn_000004")
    await mirror.poll(desk)
    before = await mirror.everything()

    for cursor in ("0", "3", "8", None):
        await mirror.owner.execute("UPDATE sync.targets SET cursor = %s WHERE feed = 'transactions'", [cursor])
        polled = await mirror.poll(desk)
        assert (polled.outcome, polled.applied.rows_changed, polled.applied.rows_removed) == (
            "complete",
            0,
            0,
        )

    assert await mirror.everything() == before


async def test_t1_x11_pending_becomes_posted_once(bank: ModelBank, mirror: Mirror) -> None:
    """A hold that settles under another id and amount is one transaction, and the link is kept."""
    hold = bank.hold("acct_a", -10_000)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    assert await mirror.rows() == bank.good_rows(), "pending rows are mirrored, and in no total"
    await mirror.check()
    posted = bank.settle("acct_a", hold, -11_840, keep_pending=True)

    polled = await mirror.poll(desk)

    assert polled.applied.rows_removed == 0
    assert [row[1] for row in await mirror.rows()] == [posted]
    assert await mirror.ask("SELECT transaction_id, ended_by, successor_id FROM snapshot.transaction_revisions") == [
        (hold, "settled", posted)
    ]
    await mirror.check()


@pytest.mark.parametrize("order", list(permutations(["hold", "post", "gone"])), ids=" ".join)
@pytest.mark.parametrize("page_rows", [1, 10], ids=["a page each", "one page"])
@pytest.mark.parametrize("polls", ["one poll", "a poll each"])
async def test_t3_any_order_of_a_settlement_ends_the_same(
    order: tuple[str, ...], page_rows: int, polls: str, bank: ModelBank, mirror: Mirror
) -> None:
    """Hold, posting and removal in any order, on one page or three, in one poll or three: one posted row."""
    bank.page_rows = page_rows
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    for event in order:
        if event == "hold":
            bank.hold("acct_a", -900, transaction_id="hold_1")
        elif event == "post":
            bank.post("acct_a", -900, transaction_id="posted_1", pending_id="hold_1")
        else:
            bank.rows.pop(("acct_a", "hold_1"), None)
            bank.log.append(("acct_a", "hold_1"))
        if polls == "a poll each":
            await mirror.poll(desk)
    await mirror.poll(desk)

    assert {row[1] for row in await mirror.rows()} == {"posted_1"}
    await mirror.check()


async def test_x12_removed_then_back(bank: ModelBank, mirror: Mirror) -> None:
    """A row that the bank removes and shows again is there again, with its history."""
    txn = bank.post("acct_a", -500)
    row = dict(bank.rows["acct_a", txn])
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    bank.remove("acct_a", txn)
    assert (await mirror.poll(desk)).applied.rows_removed == 1
    assert await mirror.rows() == set()
    bank.put_row(row)

    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.history(txn) == [("removed", -500)]
    await mirror.check()


async def test_t4_updated_then_removed_in_one_sync(bank: ModelBank, mirror: Mirror) -> None:
    """Removal wins over an update of the same poll."""
    txn = bank.post("acct_a", -500)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    bank.change("acct_a", txn, amount_cents=-600)
    bank.remove("acct_a", txn)

    await mirror.poll(desk)

    assert await mirror.rows() == set()
    await mirror.check()


async def test_t6_twins_stay_two(bank: ModelBank, mirror: Mirror) -> None:
    """Two coffees on one day are two rows, and still two after the next poll."""
    bank.post("acct_a", -350)
    bank.post("acct_a", -350)
    desk = await mirror.open(ModelReader(bank))

    await mirror.poll(desk)
    await mirror.poll(desk)

    assert len(await mirror.rows()) == 2
    await mirror.check()


async def test_t11_one_id_in_two_accounts(bank: ModelBank, mirror: Mirror) -> None:
    """The same bank id in two accounts is two transactions."""
    bank.post("acct_a", -1, transaction_id="same")
    bank.post("acct_b", -2, transaction_id="same")
    desk = await mirror.open(ModelReader(bank))

    await mirror.poll(desk)

    assert {row[0] for row in await mirror.rows()} == {"acct_a", "acct_b"}


async def test_t8_b11_bad_rows_wait_in_quarantine(bank: ModelBank, mirror: Mirror) -> None:
    """A row with a blank id is kept with its reason; good ones and cursor go on, and the feed says so."""
    good = bank.post("acct_a", -1)
    bank.put_row({**bank.rows["acct_a", good], "transaction_id": " "})
    desk = await mirror.open(ModelReader(bank))

    polled = await mirror.poll(desk)
    again = await mirror.poll(desk)

    assert (polled.outcome, polled.applied.rows_refused, again.outcome) == ("complete", 1, "complete")
    assert [row[1] for row in await mirror.rows()] == [good]
    kept = await mirror.ask(
        "SELECT account_id, feed, reason <> '', raw <> '' FROM sync.quarantine WHERE resolved_at IS NULL"
    )
    assert kept == [("acct_a", "transactions", True, True)]
    assert await mirror.ask("SELECT verdict FROM read.feeds WHERE feed = 'transactions' AND account_id = 'acct_a'") == [
        ("partial",)
    ]


async def test_quarantine_opens_once_and_closes_when_a_full_pass_is_clean(bank: ModelBank, mirror: Mirror) -> None:
    """The same bad row is one entry, and a pass over everything that does not show it resolves it."""
    good = bank.post("acct_a", -1)
    bank.put_row({**bank.rows["acct_a", good], "transaction_id": "0", "amount_cents": 1.5})
    desk = await mirror.open(ModelReader(bank))
    for cursor in (None, None):
        await mirror.owner.execute("UPDATE sync.targets SET cursor = %s WHERE feed = 'transactions'", [cursor])
        await mirror.poll(desk)
    assert await mirror.ask("SELECT count(*) FROM sync.quarantine WHERE resolved_at IS NULL") == [(1,)]
    bank.remove("acct_a", "0")
    await mirror.owner.execute("UPDATE sync.targets SET cursor = NULL WHERE feed = 'transactions'")

    await mirror.poll(desk)

    assert await mirror.ask("SELECT count(*) FROM sync.quarantine WHERE resolved_at IS NULL") == [(0,)]


async def test_t16_page_two_fails(bank: ModelBank, mirror: Mirror) -> None:
    """B2: nothing of a pass that breaks off is kept, neither rows nor cursor; the failure is on record."""
    bank.post("acct_a", -1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    await mirror.poll(desk)
    for number in range(9):
        bank.post("acct_a", -number - 10)
    before, cursor = await mirror.everything(), await mirror.target("cursor")

    def fail(page: int) -> None:
        if page == 2:
            raise BankUnreachable("HTTP 500")

    reader.before_page = fail
    polled = await mirror.poll(desk)

    assert (polled.outcome, polled.error) == ("failed", "bank-unreachable: HTTP 500")
    assert (await mirror.everything(), await mirror.target("cursor")) == (before, cursor)
    assert await mirror.target("(failures, last_error, failing_since IS NOT NULL, lease_holder)") == (
        "1", "bank-unreachable: HTTP 500", "t", None,
    )  # fmt: skip
    reader.before_page = lambda page: None
    assert (await mirror.poll(desk)).outcome == "complete"
    assert await mirror.rows() == bank.good_rows()
    assert await mirror.target("(failures, last_error, failing_since)") == ("0", None, None)


async def test_t17_mutation_restarts_from_the_first_page(bank: ModelBank, mirror: Mirror) -> None:
    """A mutation on page 3 voids the pass; it is read again from its first cursor."""
    for number in range(12):
        bank.post("acct_a", -number - 1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    seen = []

    def mutate_once(page: int) -> None:
        seen.append(page)
        if page == 3 and seen.count(3) == 1:
            raise MutatedDuringPagination("HTTP 409")

    reader.before_page = mutate_once
    assert (await mirror.poll(desk)).outcome == "complete"

    assert seen == [1, 2, 3, 1, 2, 3, 4]
    assert await mirror.rows() == bank.good_rows()


async def test_t17_a_bank_that_always_changes_is_given_up(bank: ModelBank, mirror: Mirror) -> None:
    """After five restarts the run fails, with nothing kept."""
    for number in range(6):
        bank.post("acct_a", -number - 1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    reader.calls.clear()

    def mutate(page: int) -> None:
        if page == 2:
            raise MutatedDuringPagination("HTTP 409")

    reader.before_page = mutate
    polled = await mirror.poll(desk)

    assert (polled.outcome, len(reader.calls)) == ("failed", 12)
    assert await mirror.rows() == set()


async def test_t17_a_mutation_voids_the_checkpoint_too(bank: ModelBank, mirror: Mirror) -> None:
    """A resumed pass that meets a mutation begins at its first cursor again, not in its middle."""
    for number in range(12):
        bank.post("acct_a", -number - 1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader, backfill_chunk_rows=3)

    def fail_once(page: int) -> None:
        if page == 3:
            reader.before_page = mutate_once
            raise BankUnreachable("HTTP 500")

    def mutate_once(page: int) -> None:
        reader.before_page = lambda page: None
        raise MutatedDuringPagination("HTTP 409")

    reader.before_page = fail_once
    assert (await mirror.poll(desk)).outcome == "failed"
    assert await mirror.target("checkpoint") == "6"
    reader.calls.clear()

    assert (await mirror.poll(desk)).outcome == "complete"

    assert [cursor for _, cursor in reader.calls] == ["6", None, "3", "6", "9"]
    assert await mirror.rows() == bank.good_rows()


async def test_b8_t23_a_row_on_two_pages_of_a_feed(bank: ModelBank, mirror: Mirror) -> None:
    """In a delta feed the later page wins, and the money is counted once."""
    txn = bank.post("acct_a", -1)
    bank.post("acct_a", -2)
    bank.post("acct_a", -3)
    bank.change("acct_a", txn, amount_cents=-9)
    desk = await mirror.open(ModelReader(bank))

    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


async def test_t18_t19_an_expired_cursor_is_reset_once_and_ghosts_are_swept(bank: ModelBank, mirror: Mirror) -> None:
    """What vanished while the cursor was lost leaves after two complete passes, and not after one."""
    for number in range(10):
        bank.post("acct_a", -number - 1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    await mirror.poll(desk)
    bank.rows.pop(("acct_a", "txn_000004"))
    bank.log = list(bank.rows)
    bank.expired = {"10"}

    assert (await mirror.poll(desk)).outcome == "complete"
    assert len(await mirror.rows()) == 10, "one look is not enough"
    assert await mirror.ask("SELECT transaction_id FROM sync.missing") == [("txn_000004",)]
    await mirror.poll(desk)
    assert len(await mirror.rows()) == 10, "the second look came too soon"
    await mirror.pass_interval()
    polled = await mirror.poll(desk)

    assert polled.applied.rows_removed == 1
    assert await mirror.rows() == bank.good_rows()
    assert await mirror.history("txn_000004") == [("absent", -4)]
    assert await mirror.ask("SELECT * FROM sync.missing") == []
    await mirror.check()


async def test_t19_a_bank_that_forgets_every_cursor_is_no_endless_loop(bank: ModelBank, mirror: Mirror) -> None:
    """One reset in a run; if that fails as well, the run fails, and answers say partial."""
    bank.post("acct_a", -1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    await mirror.poll(desk)
    reader.calls.clear()

    def expire(page: int) -> None:
        raise CursorExpired("HTTP 410")

    reader.before_page = expire
    polled = await mirror.poll(desk)

    assert (polled.outcome, reader.calls) == ("failed", [("changes", "1"), ("changes", None)])
    assert await mirror.target("(complete, cursor)") == ("f", None)


async def test_b10_a_feed_that_is_suddenly_empty_removes_nothing(bank: ModelBank, mirror: Mirror) -> None:
    """After a reset the bank shows nothing: the rows stay, and the feed says partial and why."""
    for number in range(20):
        bank.post("acct_a", -number - 1)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    bank.rows.clear()
    bank.log.clear()
    await mirror.owner.execute("UPDATE sync.targets SET cursor = NULL WHERE feed = 'transactions'")

    for _ in range(3):
        polled = await mirror.poll(desk)
        await mirror.pass_interval()
        assert polled.outcome == "partial"

    assert len(await mirror.rows()) == 20
    assert await mirror.target("complete") is False
    assert await mirror.target("last_error") == "mass-disappearance: 20 of 20 transactions are not listed any more"


async def test_t20_a_run_that_is_cut_says_partial_and_goes_on(bank: ModelBank, mirror: Mirror) -> None:
    """At the deadline the checkpoint is saved; the next run resumes there and completes."""
    for number in range(30):
        bank.post("acct_a", -number - 1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader, run_deadline_seconds=1e-9)
    outcomes: list[str] = []
    while not outcomes or outcomes[-1] == "partial":
        outcomes.append((await mirror.poll(desk)).outcome)
        assert await mirror.ask("SELECT DISTINCT verdict FROM read.feeds WHERE feed = 'transactions'") == [
            ("fresh" if outcomes[-1] == "complete" else "partial",)
        ]

    assert outcomes == ["partial"] * 9 + ["complete"]
    assert [cursor for what, cursor in reader.calls if what == "changes"] == [
        None,
        *map(str, range(3, 30, 3)),
    ]
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


async def test_t24_late_and_backdated_rows_arrive(bank: ModelBank, mirror: Mirror) -> None:
    """A row booked twelve days back that appears today is there, on its own day."""
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    bank.post("acct_a", -77, day=TODAY - timedelta(days=12))

    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


async def test_a_transaction_of_an_unknown_account_is_kept_and_the_accounts_are_listed(
    bank: ModelBank, mirror: Mirror
) -> None:
    """Nothing is lost while the account is not known yet, and it is asked for at once."""
    desk = await mirror.open(ModelReader(bank))
    assert await mirror.target("due_at > clock_timestamp()", "accounts") is True
    bank.open_account("acct_new")
    bank.post("acct_new", -5)

    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.target("due_at > clock_timestamp()", "accounts") is False
