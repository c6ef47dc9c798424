"""The bank's pages, gathered into stretches that one transaction can store. No transaction is open while a
bank thinks.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple, TypeVar

from banks.ports import (
    BankAnswerInvalid,
    BankReader,
    ChangePage,
    FetchedAccount,
    FetchedBalance,
    FetchedTransaction,
    Page,
    Refused,
    Removed,
    Window,
)
from ingest import decide
from ingest.decide import DEFAULT_CONNECTION, Changeset, Listed, Merged

Row = TypeVar("Row", FetchedAccount, FetchedBalance, FetchedTransaction)
AnyRow = TypeVar("AnyRow", FetchedAccount, FetchedBalance, FetchedTransaction, Removed)
AnyPage = TypeVar("AnyPage", ChangePage, Page[FetchedTransaction])


@dataclass(frozen=True, slots=True)
class Pass:
    """One reading of a feed: where the bank is asked to begin, how much is stored at once, and when it is
    cut.

    `cursor` is None for the very first page, and `resumes` says that an earlier run read up to it.
    `from_start` is a delta feed read from its beginning. `window` and `account_id` (the mirror's) are of a
    listing. `deadline` is on the event loop's clock, in seconds.
    """

    connection_id: str
    account_id: str
    cursor: str | None
    resumes: bool
    from_start: bool
    window: Window | None
    chunk_rows: int
    deadline: float
    # See Changeset.
    began: datetime | None = None
    is_sweep: bool = False


class Chunk(NamedTuple):
    """A stretch of a pass; `goes_on` says that more of it follows in this run."""

    changes: Changeset
    goes_on: bool


async def change_chunks(bank: BankReader, reading: Pass) -> AsyncGenerator[Chunk]:
    """The changes since the cursor, in stretches. Raises a BankError as soon as a page does."""
    begins = not reading.resumes
    async for pages, goes_on in _stretches(
        bank.changes(reading.cursor), reading, _change_rows, lambda page: not page.has_more
    ):
        merged = decide.merge_changes(_with_mirror_ids(reading.connection_id, page) for page in pages)
        yield Chunk(_changeset(reading, merged, len(pages), pages[-1].cursor, begins, not pages[-1].has_more), goes_on)
        begins = False


async def listing_chunks(bank: BankReader, reading: Pass) -> AsyncGenerator[Chunk]:
    """One account's transactions in a window, in stretches. Raises a BankError as soon as a page does."""
    assert reading.window is not None
    begins = not reading.resumes
    account_id = decide.bank_account_id(reading.connection_id, reading.account_id)
    async for pages, goes_on in _stretches(
        bank.transactions(account_id, reading.window, reading.cursor),
        reading,
        lambda page: len(page.rows) + len(page.refused),
        lambda page: page.next_cursor is None,
    ):
        merged = decide.merge_listing(
            _of_account(reading.account_id, _page_with_mirror_ids(reading.connection_id, page)) for page in pages
        )
        cursor = pages[-1].next_cursor
        yield Chunk(_changeset(reading, merged, len(pages), cursor, begins, cursor is None), goes_on)
        begins = False


async def _stretches(
    pages: AsyncIterator[AnyPage],
    reading: Pass,
    count: Callable[[AnyPage], int],
    is_last: Callable[[AnyPage], bool],
) -> AsyncIterator[tuple[list[AnyPage], bool]]:
    """Pages until there are enough rows, the time is up or the last one came; and whether more follow in this
    run.
    """
    clock = asyncio.get_running_loop().time
    gathered: list[AnyPage] = []
    rows = 0
    async for page in pages:
        gathered.append(page)
        rows += count(page)
        late = clock() >= reading.deadline
        if is_last(page) or late:
            yield gathered, False
            return
        if rows >= reading.chunk_rows:
            yield gathered, True
            gathered, rows = [], 0
    raise BankAnswerInvalid("the feed stopped before its last page")


def _change_rows(page: ChangePage) -> int:
    return len(page.upserts) + len(page.removed) + len(page.refused)


def _changeset(reading: Pass, merged: Merged, pages: int, cursor: str | None, begins: bool, ends: bool) -> Changeset:
    return Changeset(
        upserts=merged.upserts,
        removed=merged.removed,
        refused=merged.refused,
        pages=pages,
        rows_seen=merged.rows_seen,
        cursor=cursor,
        begins=begins,
        ends=ends,
        from_start=reading.from_start,
        window=reading.window,
        as_of=merged.as_of,
        began=reading.began,
        is_sweep=reading.is_sweep,
    )


async def fetch_accounts(bank: BankReader, connection_id: str) -> Listed[FetchedAccount]:
    """All accounts of a connection."""
    return decide.list_accounts([_page_with_mirror_ids(connection_id, page) async for page in bank.accounts()])


async def fetch_balances(bank: BankReader, connection_id: str, account_id: str) -> Listed[FetchedBalance]:
    """The balances of all accounts, or of one (by its id in the mirror; empty for all)."""
    asked = decide.bank_account_id(connection_id, account_id) or None
    return decide.list_balances(
        [_of_account(account_id, _page_with_mirror_ids(connection_id, page)) async for page in bank.balances(asked)]
    )


# ── ids of further connections ──────────────────────────────────────────────────────────────────────────────


def _with_mirror_ids(connection_id: str, page: ChangePage) -> ChangePage:
    if connection_id == DEFAULT_CONNECTION:
        return page
    return replace(
        page,
        upserts=_prefixed(connection_id, page.upserts),
        removed=_prefixed(connection_id, page.removed),
        refused=_prefixed_refused(connection_id, page.refused),
    )


def _page_with_mirror_ids(connection_id: str, page: Page[Row]) -> Page[Row]:
    if connection_id == DEFAULT_CONNECTION:
        return page
    return replace(
        page,
        rows=_prefixed(connection_id, page.rows),
        refused=_prefixed_refused(connection_id, page.refused),
    )


def _of_account(account_id: str, page: Page[Row]) -> Page[Row]:
    """What an account's own listing shows is in doubt there, whatever a refused row says; empty for all accounts."""
    if not account_id or not page.refused:
        return page
    return replace(page, refused=[replace(row, account_id=account_id) for row in page.refused])


def _prefixed(connection_id: str, rows: Sequence[AnyRow]) -> list[AnyRow]:
    return [row._replace(account_id=decide.mirror_account_id(connection_id, row.account_id)) for row in rows]


def _prefixed_refused(connection_id: str, rows: Sequence[Refused]) -> list[Refused]:
    """A row that does not say whose it is stays nobody's."""
    return [
        replace(row, account_id=decide.mirror_account_id(connection_id, row.account_id)) if row.account_id else row
        for row in rows
    ]
