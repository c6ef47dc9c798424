"""T12: a relink, a new consent: the bank lists the same accounts under new ids. Nothing is counted twice meanwhile."""

import asyncio
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from ingest import relink, rulings
from ingest.poll import Desk
from ingest.rulings import Ruling
from ingest.verify import Comparison
from tests.conftest import Connect
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader
from tests.waiting import PATIENCE, until

# Somebody waits for a lock that another one holds.
WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def move(bank: ModelBank, former: str, new: str, *, new_ids: bool = False, keeps_rows: bool = True) -> None:
    """The account and its entries are under another account id; a feed shows them as if they had just come."""
    account = bank.accounts.pop(former)
    bank.accounts[new] = {**account, "account_id": new}
    bank.balances[new] = {**bank.balances.pop(former), "account_id": new}
    for (owner, txn), row in list(bank.rows.items()):
        if owner == former:
            del bank.rows[owner, txn]
            bank.log = [key for key in bank.log if key != (owner, txn)]
            if keeps_rows:
                bank.put_row({**row, "account_id": new, "transaction_id": f"new_{txn[-6:]}" if new_ids else txn})
    bank.reset_feed()


async def open_desk(mirror: Mirror, bank: ModelBank, *, rows: int, delta_feed: bool = True) -> Desk:
    """A desk with some days of one account mirrored."""
    for number in range(rows):
        bank.post("acct_a", -100 - number, day=TODAY - timedelta(days=number % 4), description=f"Shop {number}")
    bank.set_balance("acct_a", 5_000)
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    await read(mirror, desk)
    return desk


async def read(mirror: Mirror, desk: Desk) -> None:
    """One round of polls, the accounts first."""
    await mirror.poll(desk, "accounts")
    await mirror.poll(desk, "balances")
    targets = "SELECT account_id FROM sync.targets WHERE feed = 'transactions' AND in_use ORDER BY 1"
    for (account,) in await mirror.ask(targets):
        await mirror.poll(desk, "transactions", account)


async def held_by(mirror: Mirror) -> set[str]:
    """Which accounts the mirror has entries or balances of, or lists."""
    return {
        row[0]
        for row in await mirror.ask(
            "SELECT account_id FROM snapshot.accounts UNION SELECT account_id FROM snapshot.transactions"
            " UNION SELECT account_id FROM snapshot.balances"
            " UNION SELECT account_id FROM snapshot.daily_totals WHERE entries > 0"
        )
    }


async def links(mirror: Mirror) -> list[tuple[Any, ...]]:
    """Every link of accounts."""
    return await mirror.ask(
        "SELECT account_id, listed_id, evidence, state, rows_seen, rows_equal FROM sync.account_links ORDER BY 1, 2"
    )


async def link_id(mirror: Mirror) -> str:
    """The name of the one link."""
    (link,) = await rulings.list_links(mirror.pool, ["suggested", "linked", "confirmed"])
    return link.link_id


@pytest.mark.parametrize("delta_feed", [True, False], ids=["delta feed", "listing"])
async def test_t12_a_new_id_is_held_back_and_asked_about(
    delta_feed: bool, bank: ModelBank, mirror: Mirror, database_url: str
) -> None:
    """Too little to be sure: no second account, no doubled cash, and the old one says why it is not confirmed."""
    desk = await open_desk(mirror, bank, rows=4, delta_feed=delta_feed)
    before = await mirror.rows()
    move(bank, "acct_a", "acct_new", keeps_rows=False)
    bank.post("acct_new", -777)

    for _ in range(2):
        await read(mirror, desk)

    assert await held_by(mirror) == {"acct_a", "acct_b"}
    assert await mirror.rows() == before
    assert [link[:4] for link in await links(mirror)] == [("acct_a", "acct_new", "resembles", "suggested")]
    feeds: dict[str, str] = dict(await mirror.ask("SELECT feed, reason FROM read.feeds WHERE account_id = 'acct_a'"))
    assert feeds["accounts"].endswith("does not list it any more, but acct_new, which looks like it and is held back")
    assert await mirror.ask("SELECT verdict FROM read.feeds WHERE account_id = 'acct_b' AND feed = 'accounts'") == [
        ("fresh",)
    ]
    # Who sees the old one alone is not told the id of another account.
    async with await psycopg.AsyncConnection.connect(database_url) as reader:
        await reader.execute("SET ROLE bankmirror_reader")
        await reader.execute("SELECT set_config('bankmirror.accounts', '{acct_a}', true)")
        told = await (await reader.execute("SELECT string_agg(reason, ' ') FROM read.feeds")).fetchone()
        assert told is not None
        assert "another account, which looks like it" in told[0]
        assert "acct_new" not in told[0]
        linked = await reader.execute("SELECT account_id, listed_id, name FROM read.account_links")
        assert await linked.fetchall() == [("acct_a", None, None)]
    await mirror.check()


@pytest.mark.parametrize("new_ids", [False, True], ids=["stable ids", "new ids"])
async def test_t12_the_same_entries_prove_the_account(new_ids: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Twelve equal entries are enough: it is linked by itself, and goes on under its old id with what came since."""
    desk = await open_desk(mirror, bank, rows=12)
    move(bank, "acct_a", "acct_new", new_ids=new_ids)
    bank.post("acct_new", -777)
    bank.set_balance("acct_new", 4_223)

    for _ in range(2):
        await read(mirror, desk)
        await mirror.check()

    assert await held_by(mirror) == {"acct_a", "acct_b"}
    evidence = "fingerprint" if new_ids else "stable-id"
    assert await links(mirror) == [("acct_a", "acct_new", evidence, "linked", 13, 12)]
    assert {row[1:-1] for row in await mirror.rows()} == {row[1:-1] for row in bank.good_rows()}
    assert await mirror.ask("SELECT current_minor FROM snapshot.balances WHERE account_id = 'acct_a'") == [(4_223,)]
    ends = await mirror.ask("SELECT DISTINCT account_id, ended_by FROM snapshot.transaction_revisions")
    assert ends == ([("acct_a", "rekeyed")] if new_ids else [])
    assert {row[0] for row in await mirror.ask("SELECT verdict FROM read.feeds")} <= {"fresh", "unknown"}
    await mirror.check()


@pytest.mark.parametrize("delta_feed", [True, False], ids=["delta feed", "listing"])
async def test_t12_a_person_confirms(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Then the bank's new id is the mirror's old account; a row that the old one had is not doubled."""
    desk = await open_desk(mirror, bank, rows=4, delta_feed=delta_feed)
    move(bank, "acct_a", "acct_new")
    await read(mirror, desk)
    bank.post("acct_new", -777)
    bank.set_balance("acct_new", 1)

    await rulings.rule(mirror.pool, await link_id(mirror), Ruling.CONFIRM, "ann", "new consent of 3 May")
    await read(mirror, desk)

    assert await held_by(mirror) == {"acct_a", "acct_b"}
    assert {row[1:-1] for row in await mirror.rows()} == {row[1:-1] for row in bank.good_rows()}
    assert await mirror.ask("SELECT current_minor FROM snapshot.balances WHERE account_id = 'acct_a'") == [(1,)]
    assert await mirror.ask("SELECT state, decided_by, note FROM sync.account_links") == [
        ("confirmed", "ann", "new consent of 3 May")
    ]
    assert await mirror.ask("SELECT * FROM snapshot.transaction_revisions") == []
    await mirror.check()
    report = await Comparison(desk).run()
    assert (report.differences, report.notes, report.is_compared) == ([], [], True), "verify knows both ids"


async def test_t12_a_person_rejects(bank: ModelBank, mirror: Mirror) -> None:
    """Then it is an account of its own, with all that was held back, and it is not asked about again."""
    desk = await open_desk(mirror, bank, rows=4)
    move(bank, "acct_a", "acct_new", keeps_rows=False)
    bank.post("acct_new", -777)
    await read(mirror, desk)

    await rulings.rule(mirror.pool, await link_id(mirror), Ruling.REJECT, "ann", "a second card")
    await read(mirror, desk)

    assert await held_by(mirror) == {"acct_a", "acct_b", "acct_new"}
    assert ("acct_new", -777) in {(row[0], row[2]) for row in await mirror.rows()}
    assert [link[3] for link in await links(mirror)] == ["rejected"]


async def test_t12_undone_the_new_id_is_an_account_of_its_own(bank: ModelBank, mirror: Mirror) -> None:
    """A link that was wrong is taken back: what comes from then on is stored under the id that the bank uses."""
    desk = await open_desk(mirror, bank, rows=4)
    move(bank, "acct_a", "acct_new", keeps_rows=False)
    await read(mirror, desk)
    link = await link_id(mirror)
    await rulings.rule(mirror.pool, link, Ruling.CONFIRM, "ann", "looks right")
    await read(mirror, desk)

    await rulings.rule(mirror.pool, link, Ruling.UNDO, "bob", "it was not")
    bank.post("acct_new", -777)
    await read(mirror, desk)

    assert ("acct_new", -777) in {(row[0], row[2]) for row in await mirror.rows()}
    assert [link[3] for link in await links(mirror)] == ["undone"]


async def test_t12_the_feed_is_ahead_of_the_listing(bank: ModelBank, mirror: Mirror) -> None:
    """Rows under the new id that came before the listing leave the mirror and its totals, but not the history."""
    desk = await open_desk(mirror, bank, rows=4)
    move(bank, "acct_a", "acct_new")
    await mirror.poll(desk)
    assert "acct_new" in await held_by(mirror), "nobody could know yet"

    await mirror.poll(desk, "accounts")

    assert await held_by(mirror) == {"acct_a", "acct_b"}
    assert await mirror.ask("SELECT DISTINCT account_id, ended_by FROM snapshot.transaction_revisions") == [
        ("acct_new", "rekeyed")
    ]
    await mirror.check()


async def test_t12_one_entry_shown_often_is_one_entry(bank: ModelBank, mirror: Mirror) -> None:
    """An account that has one fee in common with the former one is not linked because the bank shows it ten times."""
    desk = await open_desk(mirror, bank, rows=4)
    move(bank, "acct_a", "acct_new", keeps_rows=False)
    fee = bank.post("acct_new", -100, description="Shop 0")
    await read(mirror, desk)

    for _ in range(relink.LINKS_ROWS_MIN + 2):
        bank.change("acct_new", fee)
        await mirror.poll(desk, "transactions")

    assert await links(mirror) == [("acct_a", "acct_new", "fingerprint", "suggested", 1, 1)]


async def test_t12_two_alike_are_not_guessed(bank: ModelBank, mirror: Mirror) -> None:
    """Two absent accounts of one name, type and currency: the new one is mirrored for what it is, a new account."""
    bank.open_account("acct_c")
    bank.accounts["acct_c"]["name"] = bank.accounts["acct_a"]["name"]
    desk = await open_desk(mirror, bank, rows=4)
    name = bank.accounts["acct_a"]["name"]
    for gone in ("acct_a", "acct_c"):
        del bank.accounts[gone], bank.balances[gone]
    bank.open_account("acct_new")
    bank.accounts["acct_new"]["name"] = name

    await mirror.poll(desk, "accounts")

    assert await links(mirror) == []
    assert "acct_new" in await held_by(mirror)


async def test_t12_the_bank_goes_back(bank: ModelBank, mirror: Mirror) -> None:
    """The former id is listed again: a suggestion is withdrawn, a link is undone, and the account is the same."""
    desk = await open_desk(mirror, bank, rows=12)
    move(bank, "acct_a", "acct_new")
    for _ in range(2):
        await read(mirror, desk)
    assert [link[3] for link in await links(mirror)] == ["linked"]
    move(bank, "acct_new", "acct_a")

    for _ in range(2):
        await read(mirror, desk)

    assert await mirror.rows() == bank.good_rows()
    assert await held_by(mirror) == {"acct_a", "acct_b"}
    assert [link[3] for link in await links(mirror)] == ["undone"]
    await mirror.check()


async def test_t12_what_is_not_held_back_is_doubled(
    bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: without the rule, the same money is there twice."""

    async def keep(_connection: Any, _claim: Any, listed: Any) -> Any:
        return listed

    monkeypatch.setattr(relink, "place", keep)
    desk = await open_desk(mirror, bank, rows=4)
    move(bank, "acct_a", "acct_new")
    await read(mirror, desk)

    assert await held_by(mirror) == {"acct_a", "acct_b", "acct_new"}
    assert len(await mirror.rows()) == 8


# ── nobody waits for each other ─────────────────────────────────────────────────────────────────────────────


async def test_t12_a_poll_that_links_waits_for_no_listing(bank: ModelBank, mirror: Mirror, connect: Connect) -> None:
    """A listing of accounts that is being stored may wait for the poll's target: the poll must not wait for its."""
    desk = await open_desk(mirror, bank, rows=12)
    move(bank, "acct_a", "acct_new")
    await mirror.poll(desk, "accounts")
    listing = await connect(autocommit=False)
    await listing.execute("SELECT FROM sync.targets WHERE feed = 'accounts' FOR UPDATE")

    async with asyncio.timeout(PATIENCE):
        await mirror.poll(desk, "transactions")

    assert [link[3] for link in await links(mirror)] == ["linked"]
    await listing.rollback()


@pytest.mark.parametrize("who", ["listing", "person"])
async def test_t12_who_ends_a_link_waits_for_polls_first(
    who: str, bank: ModelBank, mirror: Mirror, connect: Connect
) -> None:
    """A poll that is being stored will want the link, to weigh it: nobody holds that while he waits for the poll."""
    desk = await open_desk(mirror, bank, rows=4)
    move(bank, "acct_a", "acct_new")
    await mirror.poll(desk, "accounts")
    link = await link_id(mirror)
    storing = await connect(autocommit=False)
    await storing.execute("SELECT FROM sync.targets WHERE feed = 'transactions' FOR UPDATE")
    if who == "listing":
        move(bank, "acct_new", "acct_a")
        ending: asyncio.Task[Any] = asyncio.create_task(mirror.poll(desk, "accounts"))
    else:
        ending = asyncio.create_task(rulings.rule(mirror.pool, link, Ruling.CONFIRM, "ann", "new consent"))
    await until(lambda: mirror.ask(WAITING))

    await storing.execute("SELECT FROM sync.account_links FOR UPDATE NOWAIT")
    # Nor the balances, which a poll that links takes after its own target.
    await storing.execute("SELECT FROM sync.targets WHERE feed = 'balances' FOR UPDATE NOWAIT")
    await storing.commit()

    await ending
    assert [found[3] for found in await links(mirror)] == ["rejected" if who == "listing" else "confirmed"]
