"""An answer as known at a moment is given once nothing can be stored any more that counts as known then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest

from ingest import apply, rulings, store
from ingest.advance import save_advance
from ingest.rulings import Ruling
from readapi import moments
from readapi.reader import Reader
from tests.conftest import Connect
from tests.integration.history.book import Book, Noted
from tests.integration.ingest.model_bank import ModelBank, ModelReader
from tests.waiting import PATIENCE, until

OPEN = "/banking/accounts/acct_a/transactions?known_at="
# Somebody waits for a lock that another one holds.
WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
# What the guard would say if there were none: every moment is settled.
NO_GUARD = """
CREATE OR REPLACE FUNCTION read.closed_until(account text DEFAULT NULL) RETURNS timestamptz
LANGUAGE sql STABLE AS 'SELECT ''infinity''::timestamptz'
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals come at once."""
    monkeypatch.setattr(moments, "WAIT_SECONDS", 0.0)


@asynccontextmanager
async def storing(book: Book, desk: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A poll whose transaction has stored its rows and is open until the end of the block."""
    stored, commit = asyncio.Event(), asyncio.Event()

    async def held(*arguments: Any) -> None:
        await save_advance(*arguments)
        stored.set()
        await commit.wait()

    with monkeypatch.context() as patch:
        patch.setattr(apply, "save_advance", held)
        polling = asyncio.create_task(book.mirror.poll(desk))
        await stored.wait()
        try:
            yield
        finally:
            commit.set()
            await polling


async def begin(book: Book, bank: ModelBank) -> Any:
    """A desk whose bank has been read once."""
    bank.post("acct_a", -100)
    desk = await book.mirror.open(ModelReader(bank))
    await book.mirror.poll(desk)
    return desk


async def test_what_is_being_stored_counts_as_known_before(
    book: Book, bank: ModelBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a transaction is open across a moment, that moment is refused with 503; afterwards it holds its rows."""
    desk = await begin(book, bank)
    before = await book.note()
    added = bank.post("acct_a", -250)
    async with storing(book, desk, monkeypatch):
        during = await book.note(asks=False)
        refused = await book.client.get(f"{OPEN}{during.text}")
        await book.same_bytes()

    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/moment-open")
    assert refused.headers["retry-after"] == "2"
    assert refused.json()["retryable"] is True
    assert before.at < datetime.fromisoformat(refused.json()["closed_until"]) < during.at
    assert added in [row[1] for row in await book.known(during)]
    await book.same_bytes()


async def test_without_the_guard_the_bytes_change(book: Book, bank: ModelBank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of the test above: an answer that is given while the transaction is open is not the last."""
    desk = await begin(book, bank)
    await book.mirror.owner.execute(NO_GUARD.encode())
    bank.post("acct_a", -250)
    async with storing(book, desk, monkeypatch):
        during = await book.note()

    with pytest.raises(AssertionError):
        await book.same_bytes()
    assert len(await book.known(during)) == 2


async def test_a_caller_waits_for_a_poll_that_ends_soon(
    book: Book, bank: ModelBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the request: no 503 for a moment that is settled a moment later."""
    asked = asyncio.Event()
    row = Reader.row

    async def told(*arguments: Any) -> Any:
        found = await row(*arguments)
        asked.set()
        return found

    monkeypatch.setattr(Reader, "row", told)
    monkeypatch.setattr(moments, "WAIT_SECONDS", PATIENCE)
    desk = await begin(book, bank)
    bank.post("acct_a", -250)
    async with storing(book, desk, monkeypatch):
        during = await book.note(asks=False)
        asking = asyncio.create_task(book.known(during))
        await asyncio.wait_for(asked.wait(), PATIENCE)
        assert not asking.done()

    assert len(await asking) == 2


async def test_a_dead_poll_holds_back_until_somebody_takes_over(book: Book, bank: ModelBank) -> None:
    """A killed process leaves its run open, and might still be asleep: its connection waits, others do not."""
    desk = await begin(book, bank)
    before = await book.note()
    await book.mirror.claim(desk)
    after = await book.note(asks=False)
    refused = await book.client.get(f"{OPEN}{after.text}")
    diff = await book.client.get(f"/banking/diff?known_from={before.text}&known_to={after.text}")
    await book.mirror.owner.execute("UPDATE sync.targets SET lease_until = '-infinity'")
    await book.same_bytes()
    await book.mirror.poll(desk)

    assert (refused.status_code, diff.status_code) == (503, 503)
    assert len(await book.known(after)) == 1


async def test_a_fenced_poll_holds_nothing_back(book: Book, bank: ModelBank) -> None:
    """Whoever lost the lease can store nothing any more, whatever its run says."""
    desk = await begin(book, bank)
    claim = await book.mirror.claim(desk)
    # As a change of the way that feeds are read does.
    await book.mirror.owner.execute("UPDATE sync.targets SET lease_epoch = lease_epoch + 1")
    after = await book.note()

    assert len(await book.known(after)) == 1
    async with book.mirror.pool.connection() as connection:
        with pytest.raises(store.FencedError):
            await store.hold_lease(connection, claim)


async def test_another_connections_poll_holds_nothing_back(book: Book, bank: ModelBank) -> None:
    """An account is settled by its own bank's polls; all accounts together by all."""
    await begin(book, bank)
    await book.mirror.owner.execute(
        "INSERT INTO sync.connections SELECT 'other', bank, 'b', base_url, capabilities FROM sync.connections;"
        "INSERT INTO snapshot.accounts (account_id, connection_id, name, type, currency, status)"
        " VALUES ('other:1', 'other', 'x', 'checking', 'USD', 'open');"
        "INSERT INTO sync.runs (connection_id, account_id, feed, lease_epoch) VALUES ('other', '', 'transactions', 1)"
    )
    noted = await book.note(asks=False)

    assert len(await book.known(noted)) == 1
    assert (await book.client.get(f"/banking/balances?known_at={noted.text}")).status_code == 503


async def test_a_clock_that_is_set_back_stores_nothing(book: Book, bank: ModelBank) -> None:
    """The mark of the clock is ahead, as after a step back: polls fail, are named, and go on once it has caught up."""
    desk = await begin(book, bank)
    noted = await book.note()
    bank.post("acct_a", -250)
    await book.mirror.owner.execute("UPDATE sync.clock SET mark = mark + interval '1 hour'")
    rows, balances = await book.mirror.poll(desk), await book.mirror.poll(desk, "balances")

    for polled in (rows, balances):
        assert (polled.outcome, (polled.error or "")[:23]) == ("failed", "database-clock-set-back")
    assert await book.mirror.ask("SELECT mark > now() + interval '59 min' FROM sync.clock") == [(True,)]
    await book.same_bytes()

    await book.mirror.owner.execute("UPDATE sync.clock SET mark = mark - interval '1 hour'")
    assert (await book.mirror.poll(desk)).outcome == "complete"
    assert len(await book.known(await book.note())) == 2
    await book.same_bytes()
    assert noted.at < (await book.now())


async def test_a_moment_needs_the_mirror_to_be_kept(book: Book, bank: ModelBank) -> None:
    """After the last sign of life of ingest nothing is settled; the problem says until when it is."""
    await begin(book, bank)
    noted = await book.note()
    later = Noted(await book.now(), [], [])
    refused = await book.client.get(f"{OPEN}{later.text}")
    future = await book.client.get(f"{OPEN}2999-01-01T00:00:00Z")
    unknown = await book.client.get(f"/banking/accounts/none/transactions?known_at={noted.text}")
    too_early = await book.client.get(f"{OPEN}2000-01-01T00:00:00Z")

    assert (refused.status_code, future.status_code) == (503, 422)
    assert future.json()["errors"][0]["pointer"] == "known_at"
    assert (unknown.status_code, too_early.status_code) == (404, 404)
    assert too_early.json()["detail"] == "no account with this id was known at that moment"
    closed_until = refused.json()["closed_until"].replace("+", "%2B")
    assert (await book.client.get(f"{OPEN}{closed_until}")).status_code == 503
    await book.mirror.ask("SELECT sync.move_clock()")
    assert (await book.client.get(f"{OPEN}{later.text}")).status_code == 200


async def test_the_verdict_is_that_of_the_moment(book: Book, bank: ModelBank) -> None:
    """Unknown before the first poll, fresh, partial with a refused row, stale in a gap; and so for ever."""

    async def verdict(noted: Noted) -> tuple[str, str | None]:
        answer = (await book.client.get(f"{OPEN}{noted.text}")).json()["freshness"]
        assert datetime.fromisoformat(answer["known_at"]) == noted.at
        assert (answer["synced_at"], answer["as_of"], answer["fresh_until"]) == (None, None, None)
        return answer["verdict"], answer["reason"]

    desk = await book.mirror.open(ModelReader(bank))
    unread = await book.note()
    await book.mirror.poll(desk)
    fresh = await book.note()
    bank.put_row({**bank.rows["acct_a", bank.post("acct_a", -5)], "transaction_id": "bad", "amount_cents": 0.5})
    await book.mirror.poll(desk)
    refused = await book.note()
    del bank.rows["acct_a", "bad"]
    # The feed was good for less than it took until the next poll.
    await book.mirror.owner.execute("UPDATE sync.confirmations SET fresh_until = now() WHERE feed = 'transactions'")
    stale = await book.note()
    await book.mirror.poll(desk)
    again = await book.note()

    assert [await verdict(noted) for noted in (unread, fresh, again)] == [
        ("unknown", "transactions of acct_a: not read from the bank yet at that moment"),
        ("fresh", None),
        ("partial", "transactions of acct_a: not known to be complete and right at that moment"),
    ]
    assert (await verdict(refused))[0] == "partial"
    assert (await verdict(stale))[0] == "stale"
    book.noted.remove(refused)  # Its spell was cut short by hand, above.
    await book.same_bytes()


async def test_a_ruling_that_waits_changes_no_settled_moment(book: Book, bank: ModelBank, connect: Connect) -> None:
    """Somebody rules while a poll stores, and waits for it; what is answered meanwhile stays the answer."""
    await begin(book, bank)
    await book.mirror.owner.execute(
        "INSERT INTO sync.account_links (account_id, listed_id, connection_id, name, type, currency, run_id)"
        " VALUES ('acct_a', 'acct_new', 'default', 'Account', 'checking', 'USD', 1)"
    )
    (link,) = await rulings.list_links(book.mirror.pool, ["suggested"])
    poll = await connect(autocommit=False)
    await poll.execute("SELECT FROM sync.targets WHERE feed = 'balances' FOR UPDATE")
    await book.mirror.owner.execute("LISTEN bankmirror_changed")
    ruling = asyncio.create_task(rulings.rule(book.mirror.pool, link.link_id, Ruling.REJECT, "ann", "a second card"))
    await until(lambda: book.mirror.ask(WAITING))
    before = await book.note()
    assert before.said

    await poll.commit()
    await ruling
    after = await book.note()

    await book.same_bytes()
    verdicts = [
        (await book.client.get(f"{OPEN}{noted.text}")).json()["freshness"]["verdict"] for noted in (before, after)
    ]
    assert verdicts == ["fresh", "partial"], "what was decided is known from a later moment"
    assert '{"accounts": null}' in await book.mirror.heard()


async def test_t6_what_may_be_there_twice_is_partial_for_ever(book: Book, bank: ModelBank) -> None:
    """A moment between two looks at an entry that may have a new id is partial, also when it was only that."""
    desk = await begin(book, bank)
    row = bank.rows.pop(("acct_a", "txn_000001"))
    bank.put_row({**row, "transaction_id": "new_1"})
    bank.log = list(bank.rows)
    bank.reset_feed()
    await book.mirror.poll(desk)
    doubled = await book.note()
    await book.mirror.pass_interval()
    await book.mirror.poll(desk)
    after = await book.note()

    assert [len(await book.known(noted)) for noted in (doubled, after)] == [2, 1]
    verdicts = [
        (await book.client.get(f"{OPEN}{noted.text}")).json()["freshness"]["verdict"] for noted in (doubled, after)
    ]
    assert verdicts == ["partial", "fresh"]
    await book.same_bytes()
