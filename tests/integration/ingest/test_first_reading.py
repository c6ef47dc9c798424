"""The first reading of a feed: rows go straight into the mirror, and only where nothing else can be theirs to do."""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from banks.ports import BankUnreachable, FetchedTransaction
from ingest import absence, advance, apply, first_reading, identity
from ingest.first_reading import day_sums
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader

_NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ACCOUNT = pytest.mark.parametrize("account_id", ["", "acct_a"], ids=["delta feed", "listing"])


class Watched:
    """What `copy_new` said, chunk by chunk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[bool] = []
        copy_new = first_reading.copy_new

        async def watched(*arguments: Any) -> bool:
            self.said.append(await copy_new(*arguments))
            return self.said[-1]

        monkeypatch.setattr(first_reading, "copy_new", watched)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """See `Watched`."""
    return Watched(monkeypatch)


@ACCOUNT
async def test_a_history_of_new_rows_is_copied_chunk_by_chunk(
    account_id: str, bank: ModelBank, mirror: Mirror, watched: Watched
) -> None:
    """All rows and their totals are there, none is missing, and none of the chunks was stored with more care."""
    for number in range(10):
        bank.post("acct_a", number - 5, day=TODAY - timedelta(days=number % 4))
    desk = await mirror.open(ModelReader(bank, delta_feed=not account_id), backfill_chunk_rows=3)

    polled = await mirror.poll(desk, account_id=account_id)

    assert (polled.outcome, polled.applied.rows_changed) == ("complete", 10)
    assert watched.said == [True] * 4
    assert await mirror.rows() == bank.good_rows()
    assert await mirror.ask("SELECT count(*) FROM sync.missing") == [(0,)]
    await mirror.check()


async def test_a_row_that_is_held_already_is_told_by_the_key(bank: ModelBank, mirror: Mirror, watched: Watched) -> None:
    """A later chunk shows a row again, in another version: nothing of the copy stays, and the version becomes
    history.
    """
    bank.page_rows = 1
    first = bank.post("acct_a", -100)
    bank.post("acct_a", -200)
    desk = await mirror.open(_changing(bank, first, -150), backfill_chunk_rows=1)

    await mirror.poll(desk)

    assert watched.said.count(False) == 1
    assert await mirror.rows() == bank.good_rows()
    assert await mirror.history(first) == [("changed", -100)]
    await mirror.check()


async def test_a_hold_of_an_earlier_chunk_is_settled(bank: ModelBank, mirror: Mirror, watched: Watched) -> None:
    """Once a pending row is held, posted ones are asked whether they are what it became: money counts once."""
    bank.page_rows = 1
    hold = bank.hold("acct_a", -1_000)
    posted = bank.settle("acct_a", hold, -1_200, keep_pending=True)
    desk = await mirror.open(ModelReader(bank), backfill_chunk_rows=1)

    await mirror.poll(desk)

    assert [row[1] for row in await mirror.rows()] == [posted]
    assert watched.said == []


async def test_a_row_that_was_refused_comes_well(bank: ModelBank, mirror: Mirror, watched: Watched) -> None:
    """While a refused row is open, each chunk is held against it."""
    bank.page_rows = 1
    bad = bank.post("acct_a", -2)
    bank.rows["acct_a", bad]["amount_cents"] = 1.5
    bank.post("acct_a", -1)
    desk = await mirror.open(_changing(bank, bad, -2), backfill_chunk_rows=1)

    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.ask("SELECT resolution FROM sync.quarantine") == [("came well",)]


async def test_what_a_reading_from_the_start_does_not_show_is_noted(
    bank: ModelBank, mirror: Mirror, watched: Watched
) -> None:
    """A first reading was cut, and starts over without a row that it had stored: the row is missing, the others are
    not.
    """
    bank.page_rows = 1
    gone = bank.post("acct_a", -1)
    for number in range(3):
        bank.post("acct_a", -number - 2)
    reader = ModelReader(bank)
    reader.before_page = _away_at_page_two
    desk = await mirror.open(reader, backfill_chunk_rows=1)
    await mirror.poll(desk)
    assert [row[1] for row in await mirror.rows()] == [gone]
    await mirror.owner.execute("UPDATE sync.targets SET checkpoint = NULL")
    del bank.rows["acct_a", gone]
    bank.log.remove(("acct_a", gone))
    reader.before_page = lambda page: None

    polled = await mirror.poll(desk)

    assert polled.outcome == "complete"
    assert False not in watched.said
    assert await mirror.ask("SELECT transaction_id, first_missed_at IS NOT NULL FROM sync.missing") == [(gone, True)]


@ACCOUNT
async def test_t15_a_first_reading_that_is_cut_leaves_nothing(
    account_id: str, bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each statement fails once, the copy too, and the mirror is as empty as before."""
    for number in range(5):
        bank.post("acct_a", -number - 1)
    desk = await mirror.open(ModelReader(bank, delta_feed=not account_id))
    before = [*await mirror.everything(), await mirror.ask("SELECT * FROM sync.missing")]
    step, last = 0, 0

    def counting(real: Callable[..., Awaitable[Any]], *, after: bool) -> Callable[..., Awaitable[Any]]:
        async def counted(*arguments: Any) -> Any:
            nonlocal step
            result = await real(*arguments) if after else None
            step += 1
            if step == last:
                raise InterruptedError
            return result if after else await real(*arguments)

        return counted

    for module in (absence, advance, apply, first_reading, identity):
        for name in ("run_query", "fetch_row"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, counting(getattr(module, name), after=False))
    monkeypatch.setattr(first_reading, "_copy", counting(first_reading._copy, after=True))
    while True:
        step, last = 0, last + 1
        polled = await mirror.poll(desk, account_id=account_id)
        if polled.outcome == "complete":
            break
        assert polled.error == "internal: InterruptedError"
        assert [*await mirror.everything(), await mirror.ask("SELECT * FROM sync.missing")] == before

    assert last > 5
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


def test_sums_are_of_an_account_a_day_and_a_currency() -> None:
    """In and out apart, in minor units; an amount of nothing is an entry all the same."""
    day = date(2026, 1, 2)
    rows = [_row("b", day, "USD", -5), _row("a", day, "USD", 7), _row("b", day, "USD", 0), _row("b", day, "EUR", -1)]

    sums = day_sums([*rows, _row("b", day, "USD", -6), _row("b", day, "USD", 3)])

    assert list(zip(*sums.values(), strict=True)) == [
        ("a", day, "USD", 7, 0, 1),
        ("b", day, "EUR", 0, -1, 1),
        ("b", day, "USD", 3, -11, 4),
    ]


def _away_at_page_two(page: int) -> None:
    if page == 2:
        raise BankUnreachable("HTTP 500")


def _changing(bank: ModelBank, transaction_id: str, amount: int) -> ModelReader:
    """The bank changes a row after it has shown it, and shows it once more on its last page."""
    reader = ModelReader(bank)

    def change(page: int) -> None:
        if page == 2:
            bank.change("acct_a", transaction_id, amount_cents=amount)

    reader.before_page = change
    return reader


def _row(account_id: str, day: date, currency: str, amount: int) -> FetchedTransaction:
    return FetchedTransaction(
        account_id, "id", amount, currency, "posted", "card", "", None, None, None, None, _NOON, day, b""
    )  # fmt: skip
