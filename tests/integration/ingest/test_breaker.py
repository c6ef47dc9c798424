"""When much is suddenly missing nothing is removed, until the bank shows it again or a person lets exactly that go."""

from typing import Any

import pytest

from ingest import breaker
from ingest.breaker import BreakerState
from ingest.poll import Desk
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import ModelBank, ModelReader

MODES = pytest.mark.parametrize("delta_feed", [True, False], ids=["delta feed", "listing"])


async def look(mirror: Mirror, desk: Desk) -> str:
    """One pass that would show everything of acct_a; its outcome."""
    await mirror.owner.execute("UPDATE sync.targets SET cursor = NULL")
    account_id = "" if desk.bank.capabilities.delta_feed else "acct_a"
    return (await mirror.poll(desk, "transactions", account_id)).outcome


async def the_breaker(mirror: Mirror) -> BreakerState:
    """The one there is."""
    (state,) = await breaker.breakers(mirror.pool, all_of_them=True)
    return state


async def decide(mirror: Mirror, decision: breaker.Decision) -> None:
    """What the treasurer says."""
    state = await the_breaker(mirror)
    assert await breaker.decide(mirror.pool, state.breaker_id, decision, by="treasurer", reason="asked the bank")


async def told(mirror: Mirror, feed: str = "transactions") -> Any:
    """What readers of acct_a hear."""
    query = "SELECT verdict, reason, remedy FROM read.feeds WHERE account_id = 'acct_a' AND feed = %s"
    return (await mirror.ask(query, feed))[0]


async def lost(bank: ModelBank, mirror: Mirror, *, delta_feed: bool) -> tuple[Desk, dict[Any, Any]]:
    """A mirror of ten rows whose bank shows but two of them; and what it does not show."""
    bank.page_rows = 100
    for number in range(10):
        bank.post("acct_a", -number - 1)
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    assert await look(mirror, desk) == "complete"
    hidden = {key: bank.rows.pop(key) for key in list(bank.rows)[:8]}
    assert await look(mirror, desk) == "partial"
    return desk, hidden


@MODES
async def test_b10_it_opens_and_says_what_to_do(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Who asks is told how many of how many, and the command; nothing is removed however often it is missed."""
    desk, hidden = await lost(bank, mirror, delta_feed=delta_feed)
    for _ in range(3):
        await mirror.pass_interval()
        assert await look(mirror, desk) == "partial"

    state = await the_breaker(mirror)
    assert (state.absent, state.held, state.feed, state.closed_at) == (8, 10, "transactions", None)
    assert state.sample == sorted(" ".join(key) for key in hidden)
    assert len(await mirror.rows()) == 10
    verdict, reason, remedy = await told(mirror)
    assert verdict == "partial"
    assert "8 of 10 are not listed by the bank any more, and none was removed" in reason
    assert f"`bankmirror breaker accept {state.breaker_id}`" in remedy


@MODES
async def test_b10_it_closes_when_the_bank_shows_the_rows_again(
    delta_feed: bool, bank: ModelBank, mirror: Mirror
) -> None:
    """Nobody need be asked then."""
    desk, hidden = await lost(bank, mirror, delta_feed=delta_feed)
    bank.rows.update(hidden)

    assert await look(mirror, desk) == "complete"

    assert (await the_breaker(mirror)).closed_because == "shown again"
    assert (await told(mirror))[0] == "fresh"
    assert await mirror.ask("SELECT * FROM sync.missing") == []


@MODES
async def test_b10_accepted_rows_go_and_no_others(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Two more go missing after the word was given: those wait for a second look like any other."""
    desk, hidden = await lost(bank, mirror, delta_feed=delta_feed)
    await decide(mirror, "accepted")
    assert len(await mirror.rows()) == 10, "a word alone removes nothing"
    late = list(bank.rows)
    bank.rows.clear()

    assert await look(mirror, desk) == "complete"

    assert {row[:2] for row in await mirror.rows()} == set(late)
    state = await the_breaker(mirror)
    assert (state.closed_because, state.decided_by, state.reason) == ("let go", "treasurer", "asked the bank")
    assert {key[1] for key in hidden} == {
        row[0] for row in await mirror.ask("SELECT transaction_id FROM snapshot.transaction_revisions")
    }
    await mirror.check()


@MODES
async def test_b10_an_accepted_row_that_is_shown_again_stays(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """The next pass decides, not the moment of the word."""
    desk, hidden = await lost(bank, mirror, delta_feed=delta_feed)
    await decide(mirror, "accepted")
    back = next(iter(hidden))
    bank.rows[back] = hidden[back]

    assert await look(mirror, desk) == "complete"

    assert await mirror.rows() == bank.good_rows()
    assert len(await mirror.rows()) == 3


@MODES
async def test_b10_more_that_goes_missing_after_the_word_is_asked_about(
    delta_feed: bool, bank: ModelBank, mirror: Mirror
) -> None:
    """What was accepted goes; seven others that vanish at the same time open a breaker of their own."""
    desk, _ = await lost(bank, mirror, delta_feed=delta_feed)
    hidden = dict(bank.rows)
    for number in range(7):
        bank.post("acct_a", -100 - number)
    more = {key: row for key, row in bank.rows.items() if key not in hidden}
    await look(mirror, desk)
    await decide(mirror, "accepted")
    for key in more:
        del bank.rows[key]

    assert await look(mirror, desk) == "partial"

    states = await breaker.breakers(mirror.pool, all_of_them=True)
    assert [(state.absent, state.closed_because) for state in states] == [(7, None), (8, "let go")]
    assert {row[:2] for row in await mirror.rows()} == {*hidden, *more}


@MODES
async def test_b10_a_declined_breaker_removes_nothing(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """To decline takes an accept back; the rows stay, and the answer stays partial."""
    desk, _ = await lost(bank, mirror, delta_feed=delta_feed)
    await decide(mirror, "accepted")
    await decide(mirror, "declined")

    assert await look(mirror, desk) == "partial"

    assert len(await mirror.rows()) == 10
    assert ((await the_breaker(mirror)).decision, (await told(mirror))[0]) == ("declined", "partial")
    decisions = await mirror.ask("SELECT decision FROM sync.breaker_decisions ORDER BY decided_at")
    assert decisions == [("accepted",), ("declined",)]


@MODES
async def test_b10_a_word_holds_for_a_day(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """An old accept removes nothing: the world has changed since."""
    desk, _ = await lost(bank, mirror, delta_feed=delta_feed)
    await decide(mirror, "accepted")
    await mirror.owner.execute("UPDATE sync.breaker_decisions SET decided_at = decided_at - interval '25 hours'")

    assert await look(mirror, desk) == "partial"

    assert len(await mirror.rows()) == 10
    assert (await the_breaker(mirror)).expired is True


async def test_nobody_decides_about_a_closed_one(bank: ModelBank, mirror: Mirror) -> None:
    """Nor about one that never was."""
    desk, hidden = await lost(bank, mirror, delta_feed=False)
    bank.rows.update(hidden)
    await look(mirror, desk)

    for breaker_id in ((await the_breaker(mirror)).breaker_id, 4711):
        assert not await breaker.decide(mirror.pool, breaker_id, "accepted", by="treasurer", reason="late")


async def test_rows_told_again_between_two_passes_close_it(bank: ModelBank, mirror: Mirror) -> None:
    """A delta feed tells the rows as changes: no pass over everything is needed to see that they are there."""
    desk, hidden = await lost(bank, mirror, delta_feed=True)
    await mirror.owner.execute("UPDATE sync.targets SET cursor = %s WHERE feed = 'transactions'", [str(len(bank.log))])
    for row in hidden.values():
        bank.put_row(row)

    await mirror.poll(desk)

    assert (await the_breaker(mirror)).closed_because == "shown again"


@pytest.mark.parametrize("feed", ["accounts", "balances"])
async def test_b10_of_accounts_and_balances(feed: Any, bank: ModelBank, mirror: Mirror) -> None:
    """A listing without any: doubted, with the ids; accepted, it is believed, now and for good."""
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")
    shown = bank.accounts if feed == "accounts" else bank.balances
    kept = dict(shown)
    shown.clear()
    assert (await mirror.poll(desk, feed)).outcome == "partial"
    state = await the_breaker(mirror)
    assert (state.feed, state.absent, state.held, state.sample) == (feed, 2, 2, ["acct_a", "acct_b"])
    assert "breaker" in (await told(mirror, feed))[2]

    await decide(mirror, "accepted")
    for _ in range(2):
        assert (await mirror.poll(desk, feed)).outcome == "complete"

    assert (await the_breaker(mirror)).closed_because == "let go"
    assert await mirror.ask(f"SELECT count(*) FROM snapshot.{feed}") == [(2,)], "nothing is removed"
    shown.update(kept)
    await mirror.poll(desk, feed)
    shown.clear()
    assert (await mirror.poll(desk, feed)).outcome == "partial", "that word was about another time"


async def test_b10_a_listing_that_is_whole_again_closes_it(bank: ModelBank, mirror: Mirror) -> None:
    """So do accounts."""
    desk = await mirror.open(ModelReader(bank))
    kept = dict(bank.accounts)
    bank.accounts.clear()
    await mirror.poll(desk, "accounts")
    bank.accounts.update(kept)

    assert (await mirror.poll(desk, "accounts")).outcome == "complete"

    assert (await the_breaker(mirror)).closed_because == "shown again"
