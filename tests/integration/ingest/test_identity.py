"""Ids change, and the money is still counted once: what the bank shows is mirrored, what belongs together is linked."""

from datetime import timedelta
from typing import Any

import pytest

from ingest import identity, rulings
from ingest.poll import Desk
from ingest.rulings import Ruling
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader

MODES = ["removals", "additions", "listing"]


async def open_desk(mirror: Mirror, bank: ModelBank, mode: str, **changes: Any) -> Desk:
    """A desk that reads the feed, or lists, with what the bank has mirrored."""
    desk = await mirror.open(ModelReader(bank, delta_feed=mode != "listing"), **changes)
    await read(mirror, desk)
    return desk


async def read(mirror: Mirror, desk: Desk) -> set[str]:
    """Poll every transactions target; the outcomes."""
    accounts = [""] if desk.bank.capabilities.delta_feed else ["acct_a", "acct_b"]
    return {(await mirror.poll(desk, "transactions", account)).outcome for account in accounts}


def fill(bank: ModelBank, rows: int = 12) -> None:
    """Entries of three days, each of them twice: two coffees of one day are two entries."""
    for number in range(rows):
        pair = number // 2
        bank.post("acct_a", -100 - pair, day=TODAY - timedelta(days=pair % 3 + 1), description=f"Shop {pair}")


def give_new_ids(bank: ModelBank, mode: str, prefix: str, *, made_anew: bool = False) -> None:
    """Overnight, every entry has another id; a feed says so in one way or another."""
    for (account, former), row in dict(bank.rows).items():
        new = {**row, "transaction_id": f"{prefix}{former[-6:]}"}
        if made_anew:
            new["created_at"] = f"{TODAY.isoformat()}T03:00:00+00:00"
        if mode == "removals":
            bank.remove(account, former)
        else:
            # From its start, such a feed shows what there is, and says nothing of what was.
            del bank.rows[account, former]
            bank.log = [(account, new["transaction_id"]) if key[1] == former else key for key in bank.log]
        bank.put_row(new)


async def endings(mirror: Mirror) -> list[tuple[Any, ...]]:
    """How many versions ended, by how."""
    return await mirror.ask("SELECT ended_by, count(*) FROM snapshot.transaction_revisions GROUP BY 1 ORDER BY 1")


async def links(mirror: Mirror) -> list[tuple[Any, ...]]:
    """Every link, in order."""
    return await mirror.ask(
        "SELECT predecessor_id, successor_id, kind, evidence, state FROM snapshot.transaction_links ORDER BY 1, 2"
    )


# ── T10: an id scheme is switched ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("made_anew", [False, True], ids=["made then", "made anew"])
@pytest.mark.parametrize("mode", MODES)
async def test_t10_all_ids_change_overnight(mode: str, made_anew: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Nothing is doubled and nothing removed: each entry is known under its new id, once for each twin."""
    fill(bank)
    desk = await open_desk(mirror, bank, mode)
    totals = await mirror.ask("SELECT * FROM snapshot.daily_totals ORDER BY 1, 2")
    give_new_ids(bank, mode, "new_", made_anew=made_anew)

    assert await read(mirror, desk) == {"complete"}

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.ask("SELECT * FROM snapshot.daily_totals ORDER BY 1, 2") == totals
    assert await endings(mirror) == [("rekeyed", 12)]
    assert await mirror.ask(
        "SELECT kind, evidence, occurrence, state, count(DISTINCT predecessor_id), count(DISTINCT successor_id)"
        " FROM snapshot.transaction_links GROUP BY 1, 2, 3, 4 ORDER BY 3"
    ) == [("rekeyed", "fingerprint", 1, "linked", 6, 6), ("rekeyed", "fingerprint", 2, "linked", 6, 6)]
    assert await mirror.ask("SELECT transaction_id FROM sync.missing") == []
    assert await mirror.ask("SELECT transaction_id FROM sync.newcomers") == []
    await mirror.check()
    before = await mirror.everything()
    assert await read(mirror, desk) == {"complete"}
    assert await mirror.everything() == before


@pytest.mark.parametrize("mode", MODES)
async def test_t10_the_bank_goes_back_to_the_old_ids(mode: str, bank: ModelBank, mirror: Mirror) -> None:
    """The mirror goes back too, the first links are undone, and a third switch links them once more."""
    fill(bank)
    desk = await open_desk(mirror, bank, mode)
    for prefix in ("new_", "txn_"):
        give_new_ids(bank, mode, prefix)
        assert await read(mirror, desk) == {"complete"}
        assert await mirror.rows() == bank.good_rows()
        await mirror.check()

    states = (
        "SELECT left(predecessor_id, 4), state, decided_by, count(*) FROM snapshot.transaction_links GROUP BY 1, 2, 3"
    )
    assert set(await mirror.ask(states)) == {("txn_", "undone", "bank", 12), ("new_", "linked", None, 12)}

    give_new_ids(bank, mode, "new_")
    await read(mirror, desk)

    assert await mirror.rows() == bank.good_rows()
    assert set(await mirror.ask(states)) == {("txn_", "linked", None, 12), ("new_", "undone", "bank", 12)}


@pytest.mark.parametrize("mode", ["additions", "listing"])
async def test_t10_a_switch_in_a_long_history(mode: str, bank: ModelBank, mirror: Mirror) -> None:
    """A pass in chunks finds at its end which rows of all of its chunks are known under another id."""
    fill(bank, 30)
    desk = await open_desk(mirror, bank, mode, backfill_chunk_rows=7)
    give_new_ids(bank, mode, "new_")

    assert await read(mirror, desk) == {"complete"}

    assert await mirror.rows() == bank.good_rows()
    assert await endings(mirror) == [("rekeyed", 30)]
    await mirror.check()


async def test_t10_additions_alone_store_nothing_twice(
    bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed that only adds is read from its start; with the guard out, every entry is there twice."""
    fill(bank)
    desk = await open_desk(mirror, bank, "additions")
    give_new_ids(bank, "additions", "new_")
    monkeypatch.setattr(identity, "SWITCHED_ROWS_MIN", 1_000)
    await read(mirror, desk)
    assert len(await mirror.rows()) == 24, "the negative control: the guard is what keeps them from doubling"


async def test_t10_a_busy_day_is_no_switch(bank: ModelBank, mirror: Mirror) -> None:
    """Many equal sales of one day are not taken for an id scheme that was switched: the feed goes on where it was."""
    for _ in range(8):
        bank.post("acct_a", -250, description="Vending machine")
    desk = await open_desk(mirror, bank, "additions")
    for _ in range(8):
        bank.post("acct_a", -250, description="Vending machine")

    await read(mirror, desk)

    assert await mirror.target("cursor") == "16"
    assert [cursor for what, cursor in desk.bank.calls if what == "changes"][-3:] == ["8", "11", "14"]  # type: ignore[attr-defined]
    assert len(await mirror.rows()) == 16


async def test_t10_a_removal_and_its_new_id_in_two_polls(bank: ModelBank, mirror: Mirror) -> None:
    """First the old id goes, and only later the new one comes: it was removed as far as we knew, and is linked then."""
    txn = bank.post("acct_a", -500)
    row = dict(bank.rows["acct_a", txn])
    desk = await open_desk(mirror, bank, "removals")
    bank.remove("acct_a", txn)
    await read(mirror, desk)
    bank.put_row({**row, "transaction_id": "new_1"})

    await read(mirror, desk)

    assert await mirror.history(txn) == [("removed", -500)]
    assert await links(mirror) == [(txn, "new_1", "rekeyed", "fingerprint", "linked")]
    assert await mirror.rows() == bank.good_rows()


async def test_t6_one_of_two_coffees_gets_another_id(bank: ModelBank, mirror: Mirror) -> None:
    """Two equal entries of a day are counted, never merged: the one that stays is not touched by the other's new id."""
    first, second = bank.post("acct_a", -350), bank.post("acct_a", -350)
    desk = await open_desk(mirror, bank, "removals")
    row = bank.rows["acct_a", first]
    bank.remove("acct_a", first)
    bank.put_row({**row, "transaction_id": "new_1"})
    bank.put_row({**row, "transaction_id": "new_2"})

    await read(mirror, desk)
    await read(mirror, desk)

    assert {row[1] for row in await mirror.rows()} == {second, "new_1", "new_2"}
    assert await links(mirror) == [(first, "new_1", "rekeyed", "fingerprint", "linked")]
    await mirror.check()


async def test_a_pair_that_was_refused_is_not_made_again(bank: ModelBank, mirror: Mirror) -> None:
    """Who says that two ids are not the same is believed, whatever the bank does next."""
    txn = bank.post("acct_a", -500)
    desk = await open_desk(mirror, bank, "removals")
    await mirror.owner.execute(
        "INSERT INTO snapshot.transaction_links (account_id, predecessor_id, successor_id, kind, evidence, confidence,"
        " state, run_id, decided_at, decided_by) VALUES ('acct_a', %s, 'new_1', 'rekeyed', 'fingerprint', 0.9,"
        " 'rejected', 1, now(), 'ann')",
        [txn],
    )
    row = bank.rows["acct_a", txn]
    bank.remove("acct_a", txn)
    bank.put_row({**row, "transaction_id": "new_1"})

    await read(mirror, desk)

    assert await mirror.history(txn) == [("removed", -500)]
    assert await links(mirror) == [(txn, "new_1", "rekeyed", "fingerprint", "rejected")]


# ── T7: ids that are positions ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["removals", "listing"])
async def test_t7_ids_that_are_positions_overwrite_nothing(mode: str, bank: ModelBank, mirror: Mirror) -> None:
    """Renumbered ids are refused as a whole, with the reason, and the feed is flagged."""
    for number in range(10):
        bank.post("acct_a", -100 - number, day=TODAY - timedelta(days=number % 5 + 1), description=f"Was {number}")
    desk = await open_desk(mirror, bank, mode)
    before = await mirror.everything()
    rows = list(bank.rows.values())
    for row, other in zip(rows, [rows[-1], *rows[:-1]], strict=True):
        bank.put_row({**other, "transaction_id": row["transaction_id"]})

    assert "failed" in await read(mirror, desk)

    assert await mirror.everything() == before
    account = "" if mode == "removals" else "acct_a"
    error = await mirror.target("last_error", account_id=account)
    assert error == (
        "positional-ids: 10 of 10 booked transactions came with another amount, day and text; nothing was stored"
    )
    assert len(error) + 2 * len("0,000,000") < 140, "readers are shown so much of it"
    await mirror.owner.execute("UPDATE sync.targets SET synced_at = '2026-01-01', fresh_until = '2026-01-02'")
    ((remedy,),) = await mirror.ask(
        "SELECT DISTINCT remedy FROM read.feeds WHERE feed = 'transactions' AND account_id = 'acct_a'"
    )
    assert "`bankmirror identity accept-changes`" in remedy, "also when the refused feed has become stale"
    assert await mirror.ask("SELECT rows_rewritten, rows_held, cardinality(sample) FROM sync.positional_ids") == [
        (10, 10, 5)
    ]


async def test_t7_corrections_of_a_few_rows_are_taken(bank: ModelBank, mirror: Mirror) -> None:
    """Two rows that a bank corrects in everything are corrections, and so are many that change in their text alone."""
    ids = [bank.post("acct_a", -100 - number, day=TODAY - timedelta(days=3)) for number in range(10)]
    desk = await open_desk(mirror, bank, "removals")
    for txn in ids[:2]:
        bank.change("acct_a", txn, amount_cents=-7, booked_on=TODAY.isoformat(), description="Other")
    for txn in ids[2:]:
        bank.change("acct_a", txn, description="Prettier")

    assert await read(mirror, desk) == {"complete"}

    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


# ── T11, T14: what the database itself refuses ──────────────────────────────────────────────────────────────


async def test_t11_t14_the_key_is_account_and_id(mirror: Mirror) -> None:
    """The same id in two accounts is two entries, and twice in one account is refused by the database, not by code."""
    columns = "account_id, transaction_id, amount_minor, currency, status, type, description, created_at, content_hash"
    insert = (
        f"INSERT INTO snapshot.transactions ({columns}, run_id)"
        " VALUES (%s, 'same', 1, 'USD', 'pending', 'card', '', now(), '', 1) ON CONFLICT DO NOTHING"
    )
    inserted = [(await mirror.owner.execute(insert, [account])).rowcount for account in ("a", "b", "a")]

    assert inserted == [1, 1, 0]


# ── T6, T10: what a pass merely missed ──────────────────────────────────────────────────────────────────────


async def said(mirror: Mirror) -> tuple[str, str]:
    """The verdict on the transactions of acct_a, and its reason."""
    (found,) = await mirror.ask(
        "SELECT verdict::text, reason FROM read.feeds WHERE account_id = 'acct_a' AND feed = 'transactions'"
    )
    return found[0], found[1] or ""


async def shift_a_page(bank: ModelBank, mirror: Mirror) -> Desk:
    """A row falls out while its account is listed: the listing skips one coffee, while the other arrives."""
    bank.page_rows = 2
    day = TODAY - timedelta(days=2)
    for amount in (-1, -2, -450, -4):
        bank.post("acct_a", amount, day=day)
    desk = await open_desk(mirror, bank, "listing")
    bank.post("acct_a", -450, day=day)

    def shift(page: int) -> None:
        if page == 2:
            bank.rows.pop(("acct_a", "txn_000001"), None)

    reader = desk.bank
    assert isinstance(reader, ModelReader)
    reader.before_page = shift
    await read(mirror, desk)
    return desk


async def test_t6_a_twin_that_a_page_shift_skipped_stays(bank: ModelBank, mirror: Mirror) -> None:
    """Both coffees stand, and the answer says that they may be one; the next look shows both, and it is fresh again."""
    desk = await shift_a_page(bank, mirror)

    assert len([row for row in await mirror.rows() if row[2] == -450]) == 2
    assert await links(mirror) == [("txn_000003", "txn_000005", "rekeyed", "fingerprint", "suggested")]
    assert (await said(mirror))[0] == "partial"
    assert "1 may be there twice" in (await said(mirror))[1]
    await mirror.owner.execute("LISTEN bankmirror_changed")
    await mirror.pass_interval()

    await read(mirror, desk)

    assert await mirror.rows() >= bank.good_rows()
    assert await links(mirror) == [("txn_000003", "txn_000005", "rekeyed", "fingerprint", "rejected")]
    assert await said(mirror) == ("fresh", "")
    assert any('"accounts": null' in note for note in await mirror.heard()), "readers hear that the doubt is gone"
    await mirror.check()


async def test_t6_one_look_is_no_proof(bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: were one entry a switch, a true twin would be gone, and the answer fresh."""
    monkeypatch.setattr(identity, "SWITCHED_ROWS_MIN", 1)
    await shift_a_page(bank, mirror)

    assert len([row for row in await mirror.rows() if row[2] == -450]) == 1


@pytest.mark.parametrize("mode", ["additions", "listing"])
async def test_t10_one_id_changes_in_silence(mode: str, bank: ModelBank, mirror: Mirror) -> None:
    """Both ids stand for one look, and answers are partial; the second look ends the old one as re-keyed."""
    fill(bank)
    desk = await open_desk(mirror, bank, mode)
    row = bank.rows.pop(("acct_a", "txn_000004"))
    bank.put_row({**row, "transaction_id": "new_4"})
    bank.log = [key for key in bank.log if key in bank.rows]
    bank.reset_feed()
    await read(mirror, desk)
    assert len(await mirror.rows()) == 13
    assert (await said(mirror))[0] == "partial"
    await read(mirror, desk)
    assert len(await mirror.rows()) == 13, "a second look is an interval later"
    assert await mirror.ask("SELECT transaction_id FROM sync.late_entries") == [("new_4",)], "as far as we know"
    await mirror.owner.execute("LISTEN bankmirror_changed")
    await mirror.pass_interval()

    await read(mirror, desk)

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.history("txn_000004") == [("rekeyed", row["amount_cents"])]
    assert await links(mirror) == [("txn_000004", "new_4", "rekeyed", "fingerprint", "linked")]
    assert (await said(mirror))[0] == "fresh"
    assert any('"accounts": null' in note for note in await mirror.heard())
    last = "SELECT txid IS NOT NULL FROM sync.runs WHERE feed = 'transactions' AND account_id = %s ORDER BY run_id DESC"
    account = "acct_a" if mode == "listing" else ""
    assert (await mirror.ask(f"{last} LIMIT 1", account)) == [(True,)], "the views follow"
    assert await mirror.ask("SELECT transaction_id FROM sync.late_entries") == []
    await mirror.check()


async def test_t10_a_person_says_that_both_are_true(bank: ModelBank, mirror: Mirror) -> None:
    """A suggestion that somebody rejected makes no answer partial, and what is then missed again is absent."""
    desk = await shift_a_page(bank, mirror)
    bank.remove("acct_a", "txn_000003")
    (link,) = await rulings.list_links(mirror.pool, ["suggested"])

    await rulings.rule(mirror.pool, link.link_id, Ruling.REJECT, "ann", "two coffees")

    assert (await said(mirror))[0] == "fresh"
    await mirror.pass_interval()
    await read(mirror, desk)
    assert await mirror.history("txn_000003") == [("absent", -450)]


async def test_t6_what_waits_is_not_suggested_twice(bank: ModelBank, mirror: Mirror) -> None:
    """Another equal entry comes before the second look: one old id has one new one, and the other is a third coffee."""
    first = bank.post("acct_a", -350)
    desk = await open_desk(mirror, bank, "listing")
    row = bank.rows.pop(("acct_a", first))
    bank.put_row({**row, "transaction_id": "new_1"})
    await read(mirror, desk)
    bank.put_row({**row, "transaction_id": "new_2"})
    await read(mirror, desk)
    await mirror.pass_interval()

    await read(mirror, desk)

    assert await links(mirror) == [(first, "new_1", "rekeyed", "fingerprint", "linked")]
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()
