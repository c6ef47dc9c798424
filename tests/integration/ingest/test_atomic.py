"""A changeset is stored as a whole or not at all, wherever it breaks off."""

import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from banks.ports import ChangePage
from ingest import absence, advance, apply, identity
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader

STEPS = [
    *((module, name) for module in (absence, advance, apply, identity) for name in ("run_query", "fetch_row")),
    (apply, "_copy_incoming"),
    (apply, "_copy_again"),
]


class CutError(Exception):
    """The process stops here."""


@pytest.mark.parametrize("delta_feed", [True, False], ids=["delta feed", "listing"])
async def test_t15_cut_at_any_statement_nothing_is_stored(
    delta_feed: bool, bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rows without cursor, no cursor without rows: each statement fails once, and nothing has changed."""
    hold = bank.hold("acct_a", -1_000)
    ids = [bank.post("acct_a", -number - 1) for number in range(5)]
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    account = "" if delta_feed else "acct_a"
    await mirror.poll(desk, account_id=account)
    bank.settle("acct_a", hold, -1_200)
    bank.change("acct_a", ids[0], amount_cents=-55, booked_on=(TODAY - timedelta(days=3)).isoformat())
    bank.remove("acct_a", ids[1])
    bank.put_row({**bank.rows["acct_a", ids[2]], "transaction_id": " ", "amount_cents": 7})
    state = "(cursor, checkpoint, complete, synced_at)"
    before = [*await mirror.everything(), await mirror.target(state, account_id=account)]
    step, last = 0, 0

    def counting(real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(*arguments: Any) -> Any:
            nonlocal step
            step += 1
            if step == last:
                raise CutError
            return await real(*arguments)

        return counted

    for module, name in STEPS:
        monkeypatch.setattr(module, name, counting(getattr(module, name)))
    while True:
        step, last = 0, last + 1
        polled = await mirror.poll(desk, account_id=account)
        if polled.outcome == "complete":
            break
        assert polled.error == "internal: CutError"
        after = [*await mirror.everything(), await mirror.target(state, account_id=account)]
        assert after == before, f"statement {last} left something behind"

    assert last > 10
    await mirror.check()
    if delta_feed:
        assert await mirror.rows() == bank.good_rows()


async def test_t26_a_feed_that_stops_early_is_no_success(bank: ModelBank, mirror: Mirror) -> None:
    """Only the terminal page makes a pass complete; without it nothing is stored and the run has failed."""
    for number in range(9):
        bank.post("acct_a", -number - 1)

    class Stopping(ModelReader):
        async def changes(self, cursor):  # type: ignore[no-untyped-def]  # As in the model.
            async for page in super().changes(cursor):
                if not page.has_more:
                    return
                yield page

    desk = await mirror.open(Stopping(bank))
    polled = await mirror.poll(desk)

    assert (polled.outcome, polled.error) == (
        "failed",
        "bank-answer-invalid: the feed stopped before its last page",
    )
    assert await mirror.rows() == set()


async def test_x9_one_id_twice_on_a_page(bank: ModelBank, mirror: Mirror) -> None:
    """A page that holds an id twice is stored, the later one wins, and the totals count it once."""
    txn = bank.post("acct_a", -1)
    older = dict(bank.rows["acct_a", txn])
    bank.change("acct_a", txn, amount_cents=-2)

    class Doubling(ModelReader):
        async def changes(self, cursor):  # type: ignore[no-untyped-def]  # As in the model.
            async for page in super().changes(cursor):
                stale = dict(bank.rows)
                bank.rows["acct_a", txn] = older
                [old] = [row async for page in super().changes(cursor) for row in page.upserts]
                bank.rows.update(stale)
                yield ChangePage([old, *page.upserts], (), (), page.cursor, page.has_more, None)

    desk = await mirror.open(Doubling(bank))
    polled = await mirror.poll(desk)

    assert polled.outcome == "complete"
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Europe/London", "Pacific/Auckland"])
async def test_t33_a_booking_date_stays_that_day(
    zone: str, bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the process and the database think they are, a date from the bank is stored as it is."""
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setenv("PGTZ", zone)
    time.tzset()
    try:
        bank.post("acct_a", -1)
        desk = await mirror.open(ModelReader(bank))
        await mirror.poll(desk)

        assert await mirror.ask("SELECT booked_on FROM snapshot.transactions") == [(TODAY,)]
        assert await mirror.ask("SELECT booked_on FROM snapshot.daily_totals") == [(TODAY,)]
        assert await mirror.rows() == bank.good_rows()
    finally:
        monkeypatch.undo()
        time.tzset()
