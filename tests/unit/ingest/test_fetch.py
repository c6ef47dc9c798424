"""Pages are gathered into stretches, and a feed that does not end properly is no feed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from banks.ports import BankAnswerInvalid, BankReader, ChangePage, FetchedAccount, Page, Refused, Removed
from ingest.fetch import Chunk, Pass, change_chunks, fetch_accounts
from tests.unit.ingest.test_decide import page, row


class Feed:
    """A reader that gives the pages it is made of."""

    def __init__(self, *pages: ChangePage) -> None:
        self.pages = pages
        self.asked: list[str | None] = []

    async def changes(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        self.asked.append(cursor)
        for one in self.pages:
            yield one


async def chunks(feed: Feed, **changes: object) -> list[Chunk]:
    """All stretches of a pass over the feed."""
    reading = Pass("default", "", None, False, True, None, 2, asyncio.get_running_loop().time() + 60)
    reading = replace(reading, **changes)  # type: ignore[arg-type]  # Named as the fields are.
    reader: BankReader = feed  # type: ignore[assignment]  # The one method that is used.
    return [chunk async for chunk in change_chunks(reader, reading)]


PAGES = [replace(page(row(str(number))), cursor=str(number), has_more=number < 4) for number in range(5)]


async def test_stretches_hold_as_many_rows_as_asked() -> None:
    """Two rows each, and what is left; only the first begins the pass and only the last ends it."""
    found = await chunks(Feed(*PAGES))

    assert [(chunk.changes.rows_seen, chunk.changes.cursor, chunk.goes_on) for chunk in found] == [
        (2, "1", True), (2, "3", True), (1, "4", False),
    ]  # fmt: skip
    assert [(chunk.changes.begins, chunk.changes.ends) for chunk in found] == [
        (True, False), (False, False), (False, True),
    ]  # fmt: skip


async def test_a_resumed_pass_does_not_begin_again() -> None:
    """It goes on from its cursor."""
    feed = Feed(*PAGES)
    found = await chunks(feed, resumes=True, cursor="here")

    assert feed.asked == ["here"]
    assert not any(chunk.changes.begins for chunk in found)


async def test_the_deadline_cuts_after_a_page() -> None:
    """What came is stored, and the run goes no further."""
    [only] = await chunks(Feed(*PAGES), deadline=0.0, chunk_rows=100)

    assert (only.changes.cursor, only.changes.ends, only.goes_on) == ("0", False, False)


async def test_t26_no_terminal_page_no_success() -> None:
    """A feed that just stops is an error, with nothing of the last stretch."""
    with pytest.raises(BankAnswerInvalid):
        await chunks(Feed(*PAGES[:-1]), chunk_rows=100)


async def test_ids_of_a_further_connection_are_prefixed_everywhere() -> None:
    """Rows, removals and refusals alike; a refusal of nobody's row stays nobody's."""
    refused = [Refused("acct_a", "bad", b""), Refused("", "bad", b"")]
    fed = ChangePage([row("a")], [Removed("acct_b", "b")], refused, "1", False, None)

    [chunk] = await chunks(Feed(fed), connection_id="second")

    assert chunk.changes.upserts[0].account_id == "second:acct_a"
    assert chunk.changes.removed[0] == ("second:acct_b", "b")
    assert [entry.account_id for entry in chunk.changes.refused] == ["second:acct_a", ""]


async def test_accounts_of_all_pages() -> None:
    """A listing of several pages is one list."""
    first = FetchedAccount("acct_a", "A", "checking", "USD", "open")

    class Bank:
        async def accounts(self) -> AsyncIterator[Page[FetchedAccount]]:
            yield Page([first], (), "1", None)
            yield Page([first, first._replace(account_id="acct_b")], (), None, None)

    reader: BankReader = Bank()  # type: ignore[assignment]  # The one method that is used.
    found = await fetch_accounts(reader, "default")

    assert [account.account_id for account in found.rows] == ["acct_a", "acct_b"]
    assert found.pages == 2
