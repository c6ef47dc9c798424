"""Pending entries become posted ones, and the bank does not say which: linked when it is certain, else suggested."""

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest

from ingest import identity
from ingest.poll import Desk
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader

SHOP = {"name": "Corner Shop", "account_id": None}


@pytest.fixture
async def desk(bank: ModelBank, mirror: Mirror) -> Desk:
    """A desk whose feed was read once, so that what comes now is new."""
    bank.post("acct_a", -1, description="Before", day=TODAY - timedelta(days=9))
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    return desk


async def links(mirror: Mirror) -> list[tuple[Any, ...]]:
    """Every link, in order."""
    return await mirror.ask(
        "SELECT predecessor_id, successor_id, kind, evidence, state FROM snapshot.transaction_links ORDER BY 1, 2"
    )


async def ended(mirror: Mirror, transaction_id: str) -> list[tuple[Any, ...]]:
    """How a row ended, and as what it goes on."""
    return await mirror.ask(
        "SELECT ended_by, successor_id FROM snapshot.transaction_revisions WHERE transaction_id = %s", transaction_id
    )


def happen(bank: ModelBank, event: str, amount: int = -900) -> None:
    """One step of a settlement that the bank does not explain."""
    if event == "hold":
        bank.hold("acct_a", -900, transaction_id="hold_1", counterparty=SHOP)
    elif event == "post":
        bank.post("acct_a", amount, transaction_id="posted_1", counterparty=SHOP)
    else:
        bank.remove("acct_a", "hold_1")


@pytest.mark.parametrize(
    "order", [("hold", "post", "gone"), ("hold", "gone", "post"), ("post", "hold", "gone")], ids=" ".join
)
@pytest.mark.parametrize("after", ["hold", "each"])
async def test_t1_t3_a_settlement_without_a_link(
    order: tuple[str, ...], after: str, bank: ModelBank, mirror: Mirror, desk: Desk
) -> None:
    """In whatever order it is told, and over however many polls: one posted row, and the link with its evidence."""
    for event in order:
        happen(bank, event)
        if after == "each" or event == "hold":
            await mirror.poll(desk)
    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    assert await links(mirror) == [("hold_1", "posted_1", "settled", "fingerprint", "linked")]
    await mirror.check()


@pytest.mark.parametrize("delta_feed", [True, False], ids=["delta feed", "listing"])
async def test_t1_a_hold_that_is_gone_ended_as_settled(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Its last version says as what it goes on; it was not removed. A listing takes two looks to see that."""
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    account = "" if delta_feed else "acct_a"
    happen(bank, "hold")
    await mirror.poll(desk, account_id=account)
    happen(bank, "post")
    happen(bank, "gone")
    await mirror.poll(desk, account_id=account)
    if not delta_feed:
        assert await mirror.rows() > bank.good_rows(), "one look is not enough"
        assert await links(mirror) == [("hold_1", "posted_1", "settled", "fingerprint", "suggested")]
        await mirror.pass_interval()
        await mirror.poll(desk, account_id=account)

    assert await mirror.rows() == bank.good_rows()
    assert await ended(mirror, "hold_1") == [("settled", "posted_1")]
    assert await links(mirror) == [("hold_1", "posted_1", "settled", "fingerprint", "linked")]
    await mirror.check()


@pytest.mark.parametrize(("amount", "suggested"), [(-1_065, True), (-1_170, True), (-1_180, False), (900, False)])
async def test_t2_another_amount_is_only_suggested(
    amount: int, suggested: bool, bank: ModelBank, mirror: Mirror, desk: Desk
) -> None:
    """A tip of up to 30 % looks like the same purchase; nothing is concluded from it, and nothing at all from more."""
    happen(bank, "hold")
    await mirror.poll(desk)
    happen(bank, "post", amount)
    happen(bank, "gone")

    await mirror.poll(desk)

    assert await ended(mirror, "hold_1") == [("removed", None)]
    expected = [("hold_1", "posted_1", "settled", "resembles", "suggested")]
    assert await links(mirror) == (expected if suggested else [])


async def test_t13_both_shown_both_stay(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """While the bank shows both ids, so does the mirror; that they may be one entry is a suggestion."""
    happen(bank, "hold")
    happen(bank, "post")
    await mirror.poll(desk)
    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    assert await links(mirror) == [("hold_1", "posted_1", "settled", "fingerprint", "suggested")]


async def test_t13_one_reference_under_two_ids(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """Two posted rows of one day with one reference and amount may be one; without a reference they are two."""
    bank.post("acct_a", -400, transaction_id="a", client_reference="tr_1")
    bank.post("acct_a", -500)
    await mirror.poll(desk)
    bank.post("acct_a", -400, transaction_id="b", client_reference="tr_1")
    bank.post("acct_a", -500)

    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    assert await links(mirror) == [("a", "b", "same", "bank-reference", "suggested")]


@pytest.mark.parametrize("holds", [1, 2])
async def test_several_candidates_are_never_merged(holds: int, bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """Two holds and one posting, or one hold and two postings, fit each other too well: a person must say."""
    for number in range(holds):
        bank.hold("acct_a", -900, transaction_id=f"hold_{number}")
    await mirror.poll(desk)
    for number in range(3 - holds):
        bank.post("acct_a", -900, transaction_id=f"posted_{number}")
    bank.remove("acct_a", "hold_0")

    await mirror.poll(desk)

    assert await ended(mirror, "hold_0") == [("removed", None)]
    assert [link[3:] for link in await links(mirror)] == [("fingerprint", "suggested")] * 2
    assert await mirror.rows() == bank.good_rows()


async def test_what_is_linked_is_no_candidate_any_more(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """A suggestion that another link explains better is void, and says by what."""
    bank.hold("acct_a", -900, transaction_id="hold_1")
    bank.hold("acct_a", -1_000, transaction_id="hold_2")
    await mirror.poll(desk)
    bank.post("acct_a", -900, transaction_id="posted_1")
    bank.remove("acct_a", "hold_1")

    await mirror.poll(desk)

    assert await mirror.ask("SELECT predecessor_id, state, note FROM snapshot.transaction_links ORDER BY 1") == [
        ("hold_1", "linked", None),
        ("hold_2", "rejected", "settled as hold_1 -> posted_1"),
    ]


async def test_a_hold_that_is_shown_again_is_a_suggestion_again(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """What was concluded from its absence is taken back with it; and concluded again when it is gone for good."""
    happen(bank, "hold")
    row = dict(bank.rows["acct_a", "hold_1"])
    await mirror.poll(desk)
    happen(bank, "post")
    happen(bank, "gone")
    await mirror.poll(desk)
    bank.put_row(row)
    await mirror.poll(desk)
    assert await mirror.rows() == bank.good_rows()
    assert await links(mirror) == [("hold_1", "posted_1", "settled", "fingerprint", "suggested")]
    happen(bank, "gone")

    await mirror.poll(desk)

    assert await links(mirror) == [("hold_1", "posted_1", "settled", "fingerprint", "linked")]
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


async def test_t4_updated_then_removed_wins_over_a_twin(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """A hold that is changed and removed in one poll is gone, and settles with what it was last shown as."""
    happen(bank, "hold")
    await mirror.poll(desk)
    bank.change("acct_a", "hold_1", amount_cents=-950)
    happen(bank, "post")
    happen(bank, "gone")

    await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    assert await ended(mirror, "hold_1") == [("settled", "posted_1")]


@pytest.mark.parametrize("order", list(permutations(["hold", "post", "gone"]))[:3], ids=" ".join)
async def test_a_provider_link_is_a_link(order: tuple[str, ...], bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """What the bank says itself is written down as such, also of a hold that comes beside its posting."""
    bank.hold("acct_a", -900, transaction_id="hold_1")
    if order[0] == "hold":
        await mirror.poll(desk)
    bank.post("acct_a", -990, transaction_id="posted_1", pending_id="hold_1")
    await mirror.poll(desk)

    assert await links(mirror) == [("hold_1", "posted_1", "settled", "provider-link", "linked")]
    assert {row[1] for row in await mirror.rows()} >= {"posted_1"}


async def test_t5_a_pending_entry_that_nobody_settles_is_lapsed(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """The bank still shows it, so the mirror does; readers are told that it will hardly settle."""
    bank.hold("acct_a", -1, transaction_id="old", day=TODAY - timedelta(days=16))
    bank.hold("acct_a", -1, transaction_id="new", day=TODAY - timedelta(days=10))
    bank.post("acct_a", -1, transaction_id="posted", day=TODAY - timedelta(days=16))
    await mirror.poll(desk)

    lapsed = "SELECT transaction_id FROM read.transactions WHERE lapsed ORDER BY 1"
    assert await mirror.ask(lapsed) == [("old",)]
    await identity.set_lapse_days(mirror.pool, "default", 7)
    assert await mirror.ask(lapsed) == [("new",), ("old",)]
