"""What was refused is in doubt until it comes well, is removed, or is no longer shown; and not a poll longer."""

import json
from datetime import timedelta
from typing import Any

import pytest

from ingest.poll import Desk
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader

BOTH_WAYS = pytest.mark.parametrize("delta_feed", [True, False])


async def read(mirror: Mirror, desk: Desk) -> None:
    """One poll of the feed that shows acct_a."""
    account_id = "" if desk.bank.capabilities.delta_feed else "acct_a"
    assert (await mirror.poll(desk, "transactions", account_id)).outcome == "complete"


async def open_entries(mirror: Mirror) -> list[str]:
    """The accounts of the open entries."""
    return [row[0] for row in await mirror.ask("SELECT account_id FROM sync.quarantine WHERE resolved_at IS NULL")]


async def verdict(mirror: Mirror, feed: str = "transactions") -> Any:
    """What readers of acct_a are told."""
    found = await mirror.ask("SELECT verdict FROM read.feeds WHERE feed = %s AND account_id = 'acct_a'", feed)
    return found[0][0]


@BOTH_WAYS
async def test_a_mended_transaction_ends_the_doubt(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """The bank corrects the row under its id: the next poll stores it, the verdict is good, listeners hear it."""
    bad = bank.post("acct_a", -1, type=7)
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    await read(mirror, desk)
    assert (await open_entries(mirror), await verdict(mirror)) == (["acct_a"], "partial")
    await mirror.owner.execute("LISTEN bankmirror_changed")
    bank.change("acct_a", bad, type="card")

    await read(mirror, desk)

    assert (await open_entries(mirror), await verdict(mirror)) == ([], "fresh")
    assert await mirror.rows() == bank.good_rows()
    heard = await mirror.heard()
    assert [json.loads(note)["accounts"] for note in heard] == [["acct_a"]] * len(heard)
    assert heard


@BOTH_WAYS
async def test_a_removed_transaction_ends_the_doubt(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """The bank takes the refused row back: by its removal in a feed, by its absence in a listing."""
    bad = bank.post("acct_a", -1, type=7)
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    await read(mirror, desk)
    bank.remove("acct_a", bad)

    await read(mirror, desk)

    assert (await open_entries(mirror), await verdict(mirror)) == ([], "fresh")


@BOTH_WAYS
async def test_another_transaction_does_not_end_the_doubt(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Only the transaction itself does, and only in its own account."""
    bad = bank.post("acct_a", -1, type=7)
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    await read(mirror, desk)
    bank.post("acct_a", -2)
    bank.post("acct_b", -2, transaction_id=bad)

    await read(mirror, desk)

    assert (await open_entries(mirror), await verdict(mirror)) == (["acct_a"], "partial")


async def test_a_listing_resolves_only_what_it_would_show(bank: ModelBank, mirror: Mirror) -> None:
    """A refused row from before the window stays open: nobody looked. One inside the window, shown no more, closes."""
    old = bank.post("acct_a", -1, type=7, day=TODAY - timedelta(days=400))
    recent = bank.post("acct_a", -1, transaction_id="-", day=TODAY - timedelta(days=40))
    reader = ModelReader(bank, delta_feed=False)
    desk = await mirror.open(reader)
    await read(mirror, desk)
    assert await open_entries(mirror) == ["acct_a"] * 2
    bank.remove("acct_a", old)
    bank.remove("acct_a", recent)

    await read(mirror, desk)

    assert reader.windows[-1].first > TODAY - timedelta(days=400)
    days = await mirror.ask("SELECT day FROM sync.quarantine WHERE resolved_at IS NULL")
    assert days == [(TODAY - timedelta(days=400),)]


async def test_a_row_without_account_is_of_the_account_that_was_listed(bank: ModelBank, mirror: Mirror) -> None:
    """Nobody else's answers are in doubt, and its absence from the next listing closes it."""
    bank.post("acct_a", -1)
    desk = await mirror.open(ModelReader(bank, delta_feed=False))
    good = next(key for key in bank.rows if key[0] == "acct_a")
    bank.rows["acct_a", "nobody"] = {**bank.rows[good], "account_id": None, "transaction_id": "nobody"}
    await read(mirror, desk)
    assert await open_entries(mirror) == ["acct_a"]
    bank.remove("acct_a", "nobody")

    await read(mirror, desk)

    assert await open_entries(mirror) == []


@BOTH_WAYS
async def test_what_is_shown_but_refused_is_not_absent(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """A known transaction that comes in a version we cannot read keeps its last good version, however often."""
    known = bank.post("acct_a", -1)
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    await read(mirror, desk)
    before = await mirror.rows()
    bank.change("acct_a", known, type=7)

    for _ in range(3):
        await mirror.owner.execute("UPDATE sync.targets SET cursor = NULL")
        await read(mirror, desk)
        await mirror.pass_interval()

    assert await mirror.rows() == before
    assert await verdict(mirror) == "partial"


@pytest.mark.parametrize("bulk", [True, False])
async def test_a_mended_balance_ends_the_doubt(bulk: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Balances are shown all each time, so what is not refused again is well."""
    desk = await mirror.open(ModelReader(bank, bulk_balances=bulk))
    await mirror.poll(desk, "balances", "" if bulk else "acct_a")
    bank.balances["acct_a"]["current_cents"] = 1.5
    bank.balances["acct_a"]["account_id"] = "acct_a" if bulk else None
    await mirror.poll(desk, "balances", "" if bulk else "acct_a")
    assert await verdict(mirror, "balances") == "partial"
    bank.set_balance("acct_a", 5)

    await mirror.poll(desk, "balances", "" if bulk else "acct_a")

    assert (await open_entries(mirror), await verdict(mirror, "balances")) == ([], "fresh")


async def test_a_mended_account_ends_the_doubt(bank: ModelBank, mirror: Mirror) -> None:
    """So are accounts."""
    desk = await mirror.open(ModelReader(bank))
    bank.accounts["acct_a"]["status"] = "asleep"
    await mirror.poll(desk, "accounts")
    assert await open_entries(mirror) == ["acct_a"]
    bank.accounts["acct_a"]["status"] = "open"

    await mirror.poll(desk, "accounts")

    assert await open_entries(mirror) == []
