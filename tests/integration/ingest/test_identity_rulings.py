"""People decide about ids, and who decided, when and why is kept."""

import json
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from ingest import rulings
from ingest.poll import Desk, poll
from ingest.rulings import Ruling, RulingRefused
from ingest.store import Claim
from ingest.sweep import sweep
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader


@pytest.fixture
async def desk(bank: ModelBank, mirror: Mirror) -> Desk:
    """Two holds that one posting fits: one link each is suggested."""
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    for number in (1, 2):
        bank.hold("acct_a", -900, transaction_id=f"hold_{number}")
    await mirror.poll(desk)
    bank.post("acct_a", -900, transaction_id="posted")
    await mirror.poll(desk)
    return desk


async def states(mirror: Mirror) -> list[tuple[Any, ...]]:
    """What is said of each link."""
    return await mirror.ask(
        "SELECT predecessor_id, state, decided_by, note FROM snapshot.transaction_links ORDER BY predecessor_id"
    )


async def the_link(mirror: Mirror, former_id: str) -> str:
    """The name of the link of a hold."""
    found = await rulings.list_links(mirror.pool, ["suggested", "linked", "confirmed", "rejected", "undone"])
    return next(link.link_id for link in found if link.former_id == former_id)


async def test_a_person_confirms(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """The other suggestion is void with it; once the hold is gone, it ended as settled, because somebody said so."""
    await rulings.rule(mirror.pool, await the_link(mirror, "hold_2"), Ruling.CONFIRM, "ann", "asked the shop")

    assert await states(mirror) == [
        ("hold_1", "rejected", "ingest", "confirmed as hold_2 -> posted"),
        ("hold_2", "confirmed", "ann", "asked the shop"),
    ]
    assert await mirror.rows() == bank.good_rows(), "the mirror is what the bank shows, whatever anybody says"
    bank.remove("acct_a", "hold_2")
    await mirror.poll(desk)
    assert await mirror.history("hold_2") == [("settled", -900)]
    assert await mirror.rows() == bank.good_rows()


async def test_a_person_rejects_and_is_believed(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """With one of two refused, the other fits alone; the refused one is not suggested again when it is gone too."""
    await rulings.rule(mirror.pool, await the_link(mirror, "hold_2"), Ruling.REJECT, "ann", "another purchase")
    bank.remove("acct_a", "hold_2")
    bank.remove("acct_a", "hold_1")

    await mirror.poll(desk)

    assert await states(mirror) == [("hold_1", "linked", None, None), ("hold_2", "rejected", "ann", "another purchase")]
    assert (await mirror.history("hold_1"), await mirror.history("hold_2")) == (
        [("settled", -900)],
        [("removed", -900)],
    )


async def test_what_is_undone_is_not_made_again(bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
    """A link that somebody took back stays undone, whatever the bank shows next."""
    bank.remove("acct_a", "hold_2")
    await mirror.poll(desk)
    link = await the_link(mirror, "hold_1")
    await rulings.rule(mirror.pool, link, Ruling.CONFIRM, "ann", "sure")
    await rulings.rule(mirror.pool, link, Ruling.UNDO, "bob", "not at all")
    bank.remove("acct_a", "hold_1")

    await mirror.poll(desk)

    assert ("hold_1", "undone", "bob", "not at all") in await states(mirror)
    assert await mirror.history("hold_1") == [("removed", -900)]


@pytest.mark.parametrize(
    ("ruling", "by", "note", "said"),
    [
        (Ruling.UNDO, "ann", "why not", "is suggested: there is nothing to undo"),
        (Ruling.CONFIRM, "ingest", "why not", "a person decides"),
        (Ruling.CONFIRM, "ann", " ", "say why"),
    ],
)
async def test_a_ruling_that_cannot_be(
    ruling: Ruling, by: str, note: str, said: str, mirror: Mirror, desk: Desk
) -> None:
    """Nothing to undo, nobody who decides, no reason: refused with a sentence, and nothing is changed."""
    before = await states(mirror)

    with pytest.raises(RulingRefused, match=said):
        await rulings.rule(mirror.pool, await the_link(mirror, "hold_1"), ruling, by, note)

    assert await states(mirror) == before


async def test_t7_a_person_says_that_changes_are_right(bank: ModelBank, mirror: Mirror) -> None:
    """Then the next poll stores them, and only that: a later answer of the kind is refused and asked about anew."""
    for number in range(10):
        bank.post("acct_a", -100 - number, day=TODAY - timedelta(days=number % 5 + 1), description=f"Was {number}")
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)

    def shift() -> None:
        rows = list(bank.rows.values())
        for row, other in zip(rows, [rows[-1], *rows[:-1]], strict=True):
            bank.put_row({**other, "transaction_id": row["transaction_id"]})

    shift()
    assert (await mirror.poll(desk)).outcome == "failed"
    await rulings.accept_changes(mirror.pool, "default", "", "ann", "the bank corrected its books")
    assert await mirror.target("due_at <= clock_timestamp()") is True

    assert (await mirror.poll(desk)).outcome == "complete"

    assert await mirror.rows() == bank.good_rows()
    assert await rulings.list_refused(mirror.pool) == []
    await mirror.check()
    shift()
    assert (await mirror.poll(desk)).outcome == "failed"
    (refused,) = await rulings.list_refused(mirror.pool)
    assert (refused.rows_rewritten, refused.accepted_until) == (10, None)


async def test_t7_a_hold_that_vanished_while_the_feed_was_refused_is_looked_for(
    bank: ModelBank, mirror: Mirror
) -> None:
    """No later poll tells of it. With the changes accepted, sweeps are due at once, and two of them remove it."""
    for number in range(10):
        bank.post("acct_a", -100 - number, day=TODAY - timedelta(days=number % 5 + 1), description=f"Was {number}")
    hold = bank.hold("acct_a", -900)
    desk = await mirror.open(ModelReader(bank))
    await sweep(desk, await polled(mirror, desk))
    rows = [row for (_, name), row in bank.rows.items() if name != hold]
    for row, other in zip(rows, [rows[-1], *rows[:-1]], strict=True):
        bank.put_row({**other, "transaction_id": row["transaction_id"]})
    bank.rows.pop(("acct_a", hold))
    bank.log = [("acct_b", "nothing") if name == hold else (account, name) for account, name in bank.log]
    assert (await mirror.poll(desk)).outcome == "failed"

    await rulings.accept_changes(mirror.pool, "default", "", "ann", "the bank corrected its books")
    await sweep(desk, await polled(mirror, desk))
    assert len(await mirror.rows()) == 11, "one look is not enough"
    assert await mirror.ask("SELECT due_at < now() + interval '2 hours' FROM sync.sweeps") == [(True,)]
    await mirror.pass_interval()
    await mirror.owner.execute("UPDATE sync.sweeps SET due_at = now()")
    await sweep(desk, await polled(mirror, desk))

    assert await mirror.rows() == bank.good_rows()


async def polled(mirror: Mirror, desk: Desk) -> Claim:
    """A complete poll."""
    claim = await mirror.claim(desk, "transactions", "")
    assert (await poll(desk, claim)).outcome == "complete"
    return claim


def ask(database_url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bankmirror", "identity", *arguments]
    environment = {"DATABASE_URL": database_url, "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=50, check=False)


async def test_the_command(database_url: str, mirror: Mirror, desk: Desk) -> None:
    """A person lists, decides by the name that was listed, and is told what is wrong with what was typed."""
    shown = json.loads(ask(database_url, "list", "--json").stdout)
    link = shown["links"][0]
    assert {row["former_id"] for row in shown["links"]} == {"hold_1", "hold_2"}
    day = TODAY.isoformat()
    assert link["former"] == {"amount_minor": -900, "currency": "USD", "day": day, "text": "Coffee"}
    printed = ask(database_url, "list").stdout
    assert f"{link['link_id']}  former  -9.00 USD  {day}  Coffee" in printed
    assert f"              new     -9.00 USD  {day}  Coffee" in printed

    told = ask(database_url, "confirm", link["link_id"], "--why", "asked", "--by", "ann")

    assert (told.returncode, told.stdout) == (0, f"{link['former_id']} -> posted of acct_a: confirmed\n")
    assert (link["former_id"], "confirmed", "ann", "asked") in await states(mirror)
    wrong = ask(database_url, "undo", "nosuch", "--why", "x")
    assert (wrong.returncode, wrong.stderr) == (1, "error: there is no link nosuch\n")
    assert ask(database_url, "list").stdout == "Nothing waits for a decision.\n"
