"""A hold that its booking hides is in the mirror again when the bank takes the booking back, and only then."""

from typing import Any

import pytest

from ingest.poll import Desk
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import ModelBank, ModelReader


@pytest.fixture
async def desk(bank: ModelBank, mirror: Mirror) -> Desk:
    """A delta feed whose every row comes on a page, and in a chunk, of its own."""
    bank.page_rows = 1
    return await mirror.open(ModelReader(bank), backfill_chunk_rows=1)


async def settled(bank: ModelBank, mirror: Mirror, desk: Desk, **how: Any) -> tuple[str, str, dict[str, Any]]:
    """A hold that settled, as the mirror has it: its id, its booking's, and its row."""
    hold = bank.hold("acct_a", -5)
    row = dict(bank.rows["acct_a", hold])
    await mirror.poll(desk)
    posted = bank.settle("acct_a", hold, -6, **how)
    await mirror.poll(desk)
    assert {found[1] for found in await mirror.rows()} == {posted}
    return hold, posted, row


@pytest.mark.parametrize("polls_between", [0, 1, 2])
async def test_t3_an_unposted_hold_is_back(polls_between: int, bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """The hold is shown again first; its booking goes in a later chunk, or some polls later."""
    _, posted, row = await settled(bank, mirror, desk)
    bank.put_row(row)
    for _ in range(polls_between):
        await mirror.poll(desk)
    assert {found[1] for found in await mirror.rows()} == {posted}, "the money must not be counted twice"
    bank.remove("acct_a", posted)

    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows() != set()
    assert await mirror.ask("SELECT * FROM sync.hidden_holds") == []
    await mirror.check()


async def test_an_unposted_hold_is_back_as_it_was_shown_last(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """With the amount of the last time, and not of the time when it settled."""
    _, posted, row = await settled(bank, mirror, desk)
    for amount in (-7, -5, -8):
        bank.put_row({**row, "amount_cents": amount})
        await mirror.poll(desk)
    bank.remove("acct_a", posted)

    await mirror.poll(desk)

    assert [(found[2], found[4]) for found in await mirror.rows()] == [(-8, "pending")]


async def test_a_hold_that_was_never_taken_back_is_back(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """A bank that shows hold and booking side by side, and then removes the booking, still has the hold."""
    _, posted, _ = await settled(bank, mirror, desk, keep_pending=True)
    bank.remove("acct_a", posted)

    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows() != set()


async def test_a_reversal_does_not_bring_the_hold_back(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """The ordinary settlement took the hold away, so nothing is left when its booking is reversed."""
    _, posted, _ = await settled(bank, mirror, desk)
    bank.remove("acct_a", posted)

    await mirror.poll(desk)

    assert await mirror.rows() == set()


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_hold_that_was_taken_back_meanwhile_stays_away(
    forgets: bool, bank: ModelBank, mirror: Mirror, desk: Desk
) -> None:
    """Shown again, then removed, or gone while the bank forgot our cursor: there is nothing to bring back."""
    hold, posted, row = await settled(bank, mirror, desk)
    bank.put_row(row)
    await mirror.poll(desk)
    bank.remove("acct_a", hold)
    if forgets:
        await mirror.owner.execute("UPDATE sync.targets SET cursor = NULL")
    await mirror.poll(desk)
    bank.remove("acct_a", posted)

    await mirror.poll(desk)

    assert await mirror.rows() == set()


async def test_a_listed_hold_is_back(bank: ModelBank, mirror: Mirror) -> None:
    """A listing shows the hold all the time; it is back with the look that ends its booking."""
    desk = await mirror.open(ModelReader(bank, delta_feed=False))
    hold = bank.hold("acct_a", -5)
    posted = bank.settle("acct_a", hold, -6, keep_pending=True)
    await mirror.poll(desk, "transactions", "acct_a")
    bank.remove("acct_a", posted)
    await mirror.poll(desk, "transactions", "acct_a")
    await mirror.pass_interval()

    await mirror.poll(desk, "transactions", "acct_a")

    assert await mirror.rows() == bank.good_rows() != set()
    await mirror.check()
