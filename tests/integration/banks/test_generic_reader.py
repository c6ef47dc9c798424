"""Reading a bank that answers in the generic contract, or nearly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest

from banks import generic_pages
from banks.ports import (
    BankAnswerInvalid,
    BankError,
    BankGone,
    BankReader,
    ChangePage,
    CursorExpired,
    MutatedDuringPagination,
    Page,
    Window,
)
from banks.registry import open_reader
from tests.integration.banks.raw_bank import RawBank, answer, bank_settings, problem

JANUARY = Window(date(2026, 1, 1), date(2026, 1, 31))
ACCOUNT = {"account_id": "acct_1", "name": "Ops", "type": "checking", "currency": "USD", "status": "open"}
BALANCE = {
    "account_id": "acct_1",
    "currency": "USD",
    "current_cents": 100,
    "available_cents": None,
    "as_of": "2026-01-31T12:00:00Z",
}
ENTRY = {
    "transaction_id": "txn_1",
    "account_id": "acct_1",
    "amount_cents": -100,
    "currency": "USD",
    "status": "posted",
    "type": "card",
    "description": "COFFEE",
    "counterparty": None,
    "created_at": "2026-01-31T12:00:00Z",
    "booked_on": "2026-01-31",
    "pending_transaction_id": None,
    "client_reference": None,
}


def page(*rows: dict[str, Any], following: str | None = None) -> bytes:
    """A page of a list."""
    return answer(200, {"data": rows, "next_cursor": following}, Date="Sat, 31 Jan 2026 12:00:00 GMT")


def change_page(cursor: str | None, *, has_more: object = False, **rows: list[dict[str, Any]]) -> bytes:
    """A page of the change feed."""
    lists = {"added": [], "modified": [], "removed": [], **rows}
    return answer(200, {**lists, "next_cursor": cursor, "has_more": has_more})


@asynccontextmanager
async def reading(bank: RawBank) -> AsyncIterator[BankReader]:
    """Our side of the bank."""
    async with open_reader(bank_settings(bank)) as reader:
        yield reader


async def ids(pages: AsyncIterator[Page[Any]]) -> list[str]:
    """The last-named id of all rows."""
    return [row.transaction_id if hasattr(row, "transaction_id") else row.account_id
            async for each in pages for row in each.rows]  # fmt: skip


async def changes(reader: BankReader, cursor: str | None) -> list[ChangePage]:
    """All pages of changes."""
    return [each async for each in reader.changes(cursor)]


async def test_t21_all_pages_are_read(bank: RawBank) -> None:
    """To the one without a next cursor, each asked for with the cursor before it."""
    bank.answers(
        page(ACCOUNT, following="a"),
        page(following="b"),
        page(ACCOUNT | {"account_id": "acct_2", "status": "closed"}),
    )

    async with reading(bank) as reader:
        pages = [each async for each in reader.accounts()]

    assert [row.account_id for each in pages for row in each.rows] == ["acct_1", "acct_2"]
    assert [each.next_cursor for each in pages] == ["a", "b", None]
    assert pages[0].as_of is not None
    assert [request.target for request in bank.requests] == [
        "/api/accounts?limit=500",
        "/api/accounts?limit=500&cursor=a",
        "/api/accounts?limit=500&cursor=b",
    ]


async def test_balances(bank: RawBank) -> None:
    """In bulk, or one account's, whose id is safe in a path whatever is in it."""
    odd = "a/../b?c#d é"
    bank.answers(page(BALANCE), answer(200, BALANCE | {"account_id": odd}))

    async with reading(bank) as reader:
        assert await ids(reader.balances(None)) == ["acct_1"]
        assert await ids(reader.balances(odd)) == [odd]

    assert bank.requests[0].target == "/api/balances?limit=500"
    assert bank.requests[1].target == "/api/accounts/a%2F..%2Fb%3Fc%23d%20%C3%A9/balance"


async def test_a_window_of_transactions(bank: RawBank) -> None:
    """Both days included, from a page cursor on."""
    bank.answers(page(ENTRY, following="q"), page(ENTRY | {"transaction_id": "txn_2"}))

    async with reading(bank) as reader:
        assert await ids(reader.transactions("acct_1", JANUARY, "p")) == ["txn_1", "txn_2"]

    assert bank.requests[0].target == (
        "/api/transactions?account_id=acct_1&from=2026-01-01&to=2026-01-31&limit=500&cursor=p"
    )
    assert bank.requests[1].target.endswith("&cursor=q")


async def test_changes(bank: RawBank) -> None:
    """Added before modified, removals apart, until there is no more; the last cursor starts the next poll."""
    bank.answers(
        change_page("b", has_more=True, added=[ENTRY], modified=[ENTRY | {"amount_cents": -1}]),
        change_page("c", removed=[{"account_id": "acct_1", "transaction_id": "txn_1"}]),
        change_page("c"),
    )

    async with reading(bank) as reader:
        first, second = await changes(reader, None)
        [quiet] = await changes(reader, second.cursor)

    assert [row.amount_minor for row in first.upserts] == [-100, -1]
    assert [row.transaction_id for row in second.removed] == ["txn_1"]
    assert (first.cursor, first.has_more, second.cursor, quiet.cursor) == ("b", True, "c", "c")
    assert [request.target for request in bank.requests] == [
        "/api/transactions/changes?limit=500",
        "/api/transactions/changes?limit=500&cursor=b",
        "/api/transactions/changes?limit=500&cursor=c",
    ]


async def test_b11_one_bad_row_among_good(bank: RawBank) -> None:
    """It travels beside the good ones, in lists and in the feed."""
    bad = ENTRY | {"amount_cents": 1.5}
    bank.answers(page(ENTRY, bad), change_page("c", added=[ENTRY], modified=[bad], removed=[{"account_id": "acct_1"}]))

    async with reading(bank) as reader:
        [listed] = [each async for each in reader.transactions("acct_1", JANUARY, None)]
        [changed] = await changes(reader, "b")

    assert (len(listed.rows), len(listed.refused)) == (1, 1)
    assert (len(changed.upserts), len(changed.refused), len(changed.removed)) == (1, 2, 0)


LIST_WITHOUT_END = [
    pytest.param([page(ENTRY, following="a")], id="the same cursor again"),
    pytest.param([page(ENTRY, following="a"), page(ENTRY, following="b")] * 3, id="a circle"),
    pytest.param([page(ENTRY, following="start")], id="the cursor that it began with"),
]


@pytest.mark.parametrize("script", LIST_WITHOUT_END)
async def test_b9_a_repeated_cursor_ends_the_list(bank: RawBank, script: list[bytes]) -> None:
    """It would go on for ever."""
    bank.answers(*script)

    async with reading(bank) as reader:
        with pytest.raises(BankAnswerInvalid, match="repeats a cursor"):
            await ids(reader.transactions("acct_1", JANUARY, "start"))

    assert len(bank.requests) <= 3


async def test_b9_a_repeated_cursor_ends_the_feed(bank: RawBank) -> None:
    """As long as there is more; without more the same cursor says that nothing changed."""
    bank.answers(change_page("a", has_more=True, added=[ENTRY]))

    async with reading(bank) as reader:
        with pytest.raises(BankAnswerInvalid, match="repeats a cursor"):
            await changes(reader, "a")


async def test_b9_new_cursors_for_ever_end_too(bank: RawBank, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank that never repeats itself is stopped by the number of pages, and sooner if they are empty."""
    monkeypatch.setattr(generic_pages, "PAGES_MAX", 9)
    monkeypatch.setattr(generic_pages, "EMPTY_PAGES_MAX", 3)

    async with reading(bank) as reader:
        for expected, row in ((9, [ENTRY]), (3, [])):
            bank.requests.clear()
            bank.answers(*(page(*row, following=f"c{number}") for number in range(20)))
            with pytest.raises(BankAnswerInvalid, match="does not end"):
                await ids(reader.transactions("acct_1", JANUARY, None))
            assert len(bank.requests) == expected


@pytest.mark.parametrize(
    "body",
    [
        [],
        "x",
        None,
        {},
        {"data": []},
        {"next_cursor": None},
        {"data": {}, "next_cursor": None},
        {"data": [], "next_cursor": ""},
        {"data": [], "next_cursor": 5},
        {"data": [], "next_cursor": "x" * 5000},
        {"data": [], "next_cursor": "\ud800"},
        {"data": [], "next_cursor": "a\nb"},
    ],
)
async def test_a_page_that_is_none(bank: RawBank, body: object) -> None:
    """A page without rows or without a word on what follows is not an empty last page."""
    bank.answers(answer(200, body))

    async with reading(bank) as reader:
        with pytest.raises(BankAnswerInvalid):
            await ids(reader.accounts())


@pytest.mark.parametrize(
    "body", [change_page(None), change_page("c", has_more=None), change_page("c", has_more="no"), page(ENTRY)]
)
async def test_a_change_page_that_is_none(bank: RawBank, body: bytes) -> None:
    """Without its cursor, or without saying whether there is more, a poll would seem complete."""
    bank.answers(body)

    async with reading(bank) as reader:
        with pytest.raises(BankAnswerInvalid):
            await changes(reader, None)


async def test_t16_a_page_fails(bank: RawBank) -> None:
    """The error comes where the page would have: whoever collects pages notices."""
    bank.answers(change_page("b", has_more=True, added=[ENTRY]), answer(200, b'{"added": ['))

    async with reading(bank) as reader:
        pages = reader.changes(None)
        assert len((await anext(pages)).upserts) == 1
        with pytest.raises(BankAnswerInvalid):
            await anext(pages)


@pytest.mark.parametrize(
    ("refusal", "cursor", "error"),
    [
        (problem(409, "mutation-during-pagination"), "a", MutatedDuringPagination),
        (problem(410, "cursor-expired"), "a", CursorExpired),
        (problem(400, "cursor-invalid"), "a", CursorExpired),
        (problem(410, "cursor-expired"), None, BankAnswerInvalid),
        (problem(400, "cursor-invalid"), None, BankAnswerInvalid),
        (problem(409, "request-in-progress"), "a", BankAnswerInvalid),
        (problem(404, "not-found"), "a", BankAnswerInvalid),
        (problem(422, "validation-failed"), "a", BankAnswerInvalid),
    ],
)
async def test_t17_t19_what_the_feed_may_say(
    bank: RawBank, refusal: bytes, cursor: str | None, error: type[BankError]
) -> None:
    """A moved log, a forgotten cursor; and never the loss of an account, which the feed does not speak of."""
    bank.answers(refusal)

    async with reading(bank) as reader:
        with pytest.raises(BankError) as caught:
            await changes(reader, cursor)

    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (problem(404, "not-found"), BankGone),
        (problem(410, "account-gone"), BankGone),
        (answer(410), BankGone),
        (answer(404, b"<html>nginx</html>", "html"), BankAnswerInvalid),
        (problem(400, "validation-failed"), BankAnswerInvalid),
    ],
)
async def test_t53_an_account_that_is_gone(bank: RawBank, refusal: bytes, error: type[BankError]) -> None:
    """Only the bank itself can say so: a proxy's 404 must not park an account that is alive."""
    bank.answers(refusal)

    async with reading(bank) as reader:
        for pages in (reader.balances("acct_1"), reader.transactions("acct_1", JANUARY, None)):
            with pytest.raises(BankError) as caught:
                await ids(pages)
            assert type(caught.value) is error


async def test_t11_a_bank_that_ignores_the_account(bank: RawBank) -> None:
    """Another account's rows are not taken for this one's list."""
    bank.answers(page(ENTRY, ENTRY | {"account_id": "acct_2"}), answer(200, BALANCE | {"account_id": "acct_2"}))

    async with reading(bank) as reader:
        for pages in (reader.transactions("acct_1", JANUARY, None), reader.balances("acct_1")):
            with pytest.raises(BankAnswerInvalid, match="another account"):
                await ids(pages)


async def test_pages_are_fetched_as_they_are_wanted(bank: RawBank) -> None:
    """A backfill of any length holds one page in memory, and nothing runs ahead of who reads."""
    bank.answers(page(ENTRY, following="a"), page(ENTRY))

    async with reading(bank) as reader:
        pages = reader.transactions("acct_1", JANUARY, None)
        await anext(pages)

        assert len(bank.requests) == 1
