"""Refused rows as people deal with them: shown, read again by today's adapter, or answered for."""

from typing import Any

import pytest

from banks import generic_rows
from ingest import quarantine
from ingest.poll import Desk
from kernel.money import UnknownCurrencyError, exponent
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import ModelBank, ModelReader

BOTH_WAYS = pytest.mark.parametrize("delta_feed", [True, False], ids=["delta feed", "listing"])


async def read(mirror: Mirror, desk: Desk) -> None:
    """One poll of the feed that shows acct_a."""
    account_id = "" if desk.bank.capabilities.delta_feed else "acct_a"
    assert (await mirror.poll(desk, "transactions", account_id)).outcome == "complete"


async def verdict(mirror: Mirror) -> Any:
    """What readers of acct_a are told."""
    query = "SELECT verdict FROM read.feeds WHERE feed = 'transactions' AND account_id = 'acct_a'"
    return (await mirror.ask(query))[0][0]


@pytest.fixture
def yesterday(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An adapter that cannot read euros; `undo` installs today's, which can."""

    def older(currency: str) -> int:
        if currency == "EUR":
            raise UnknownCurrencyError(currency)
        return exponent(currency)

    monkeypatch.setattr(generic_rows, "exponent", older)
    return monkeypatch


@BOTH_WAYS
async def test_b11_read_again_by_todays_adapter(
    delta_feed: bool, bank: ModelBank, mirror: Mirror, yesterday: pytest.MonkeyPatch
) -> None:
    """What can be read now is mirrored at once, without the bank; the rest stays, with today's reason."""
    bank.page_rows = 100
    good = bank.post("acct_a", -1, currency="EUR")
    bank.post("acct_a", -2, type=7)
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    await read(mirror, desk)
    assert (await mirror.rows(), len(await quarantine.entries(mirror.pool))) == (set(), 2)
    yesterday.undo()
    account_id = "" if delta_feed else "acct_a"
    columns = "(cursor, complete, synced_at, due_at, lease_holder)"
    before = await mirror.target(columns, account_id=account_id)

    told = await quarantine.retry(mirror.pool, None)

    assert [(entry.outcome, entry.reason) for entry in told] == [("read again", ""), ("kept", "type is not a text")]
    assert await mirror.rows() == bank.good_rows()
    assert [row[1] for row in await mirror.rows()] == [good]
    assert await mirror.target(columns, account_id=account_id) == before, "no bank was asked"
    assert await mirror.ask("SELECT resolution FROM sync.quarantine ORDER BY 1") == [("read again",), (None,)]
    assert await verdict(mirror) == "partial"
    await mirror.check()


@BOTH_WAYS
async def test_an_old_row_does_not_overwrite_a_newer_one(
    delta_feed: bool, bank: ModelBank, mirror: Mirror, yesterday: pytest.MonkeyPatch
) -> None:
    """The bank corrected it since: what was kept is superseded, and the mirror stays."""
    bad = bank.post("acct_a", -1, currency="EUR")
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    await read(mirror, desk)
    yesterday.undo()
    bank.change("acct_a", bad, amount_cents=-9)
    await read(mirror, desk)
    # As if the entry had had no usable id when it was kept, so that nothing could settle it.
    await mirror.owner.execute("UPDATE sync.quarantine SET resolved_at = NULL, resolution = NULL, transaction_id = ''")

    told = await quarantine.retry(mirror.pool, None)

    assert [entry.outcome for entry in told] == ["superseded"]
    assert await mirror.rows() == bank.good_rows()
    assert await verdict(mirror) == "fresh"


async def test_of_two_versions_the_newer_counts(bank: ModelBank, mirror: Mirror, yesterday: pytest.MonkeyPatch) -> None:
    """Both were refused: the older is superseded; and while the newer cannot be read, the older is not shown."""
    bad = bank.post("acct_a", -1, currency="EUR")
    desk = await mirror.open(ModelReader(bank))
    await read(mirror, desk)
    bank.change("acct_a", bad, amount_cents=-2, type=7)
    await read(mirror, desk)
    yesterday.undo()

    told = await quarantine.retry(mirror.pool, None)

    assert [(entry.outcome, entry.reason) for entry in told] == [
        ("kept", "a newer version of it is in quarantine too"),
        ("kept", "type is not a text"),
    ]
    assert await mirror.rows() == set()


async def test_a_row_that_is_longer_than_what_was_kept_stays(bank: ModelBank, mirror: Mirror) -> None:
    """Half a row is no row."""
    bank.post("acct_a", -1, currency="???", description="x" * 100_000)
    desk = await mirror.open(ModelReader(bank))
    await read(mirror, desk)

    (told,) = await quarantine.retry(mirror.pool, None)

    assert (told.outcome, told.reason) == ("kept", "the bytes that were kept are not the whole row")


async def test_somebody_answers_for_a_row_without_an_id(bank: ModelBank, mirror: Mirror) -> None:
    """Nothing else would end that doubt. Who and why is kept; shown again it stays settled, other bytes are new."""
    good = bank.post("acct_a", -1)
    bank.put_row({**bank.rows["acct_a", good], "transaction_id": " "})
    desk = await mirror.open(ModelReader(bank))
    await read(mirror, desk)
    assert await verdict(mirror) == "partial"
    (entry,) = await quarantine.entries(mirror.pool)

    assert await quarantine.resolve(mirror.pool, entry.quarantine_id, by="treasurer", why="a line of advertising")

    assert not await quarantine.resolve(mirror.pool, entry.quarantine_id, by="treasurer", why="again")
    bank.log.append(("acct_a", " "))
    await read(mirror, desk)
    (settled,) = await quarantine.entries(mirror.pool, resolved_too=True)
    assert (settled.resolution, settled.resolved_by, settled.resolved_why, settled.times_seen) == (
        "by hand", "treasurer", "a line of advertising", 2,
    )  # fmt: skip
    assert await verdict(mirror) == "fresh"
    bank.change("acct_a", " ", amount_cents=-2)
    await read(mirror, desk)
    assert await verdict(mirror) == "partial"


async def test_what_is_not_there_is_said(bank: ModelBank, mirror: Mirror) -> None:
    """An id that no entry has; and an account, which each poll reads anyway."""
    desk = await mirror.open(ModelReader(bank))
    bank.accounts["acct_a"]["status"] = "asleep"
    await mirror.poll(desk, "accounts")
    (entry,) = await quarantine.entries(mirror.pool)

    told = await quarantine.retry(mirror.pool, [entry.quarantine_id, 4711])

    assert [(one.quarantine_id, one.outcome) for one in told] == [(entry.quarantine_id, "kept"), (4711, "kept")]
