"""Rules about ids that need no database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

import pytest

from banks import generic_rows
from banks.ports import BankReader, ChangePage, FetchedBalance, FetchedTransaction, Removed
from ingest.identity import is_rewrite
from ingest.relink import RenamedReader
from ingest.rulings import Ruling, State, ruled

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rewritten", "held", "refused"),
    [(2, 2, False), (3, 3, True), (3, 15, True), (3, 16, False), (199, 1_000, False), (200, 1_000, True)],
)
def test_t7_when_ids_are_positions(rewritten: int, held: int, refused: bool) -> None:
    """Three rows at least, and a fifth of what is touched."""
    assert is_rewrite(rewritten, held) is refused


def test_what_can_be_ruled() -> None:
    """Each ruling on each state: what is certain cannot be rejected, and what was never made cannot be undone."""
    allowed = {
        (state, ruling): after
        for state in get_args(State)
        for ruling in Ruling
        if (after := ruled(state, ruling)) is not None
    }

    assert allowed == {
        ("suggested", Ruling.CONFIRM): "confirmed",
        ("suggested", Ruling.REJECT): "rejected",
        ("linked", Ruling.CONFIRM): "confirmed",
        ("linked", Ruling.UNDO): "undone",
        ("confirmed", Ruling.UNDO): "undone",
        ("rejected", Ruling.CONFIRM): "confirmed",
        ("undone", Ruling.CONFIRM): "confirmed",
    }


@pytest.mark.parametrize(
    "text", ["", " ", "0", "000", "-", "--", "null", "NULL", "None", "nil", "N/A", "n/a", "NA", "unknown", "undefined"]
)
def test_t8_placeholders_are_no_ids(text: str) -> None:
    """What banks write where an id is missing would make one entry of many."""
    assert generic_rows.identifier(text) is None


@pytest.mark.parametrize(
    "text", ["0001", "nullable", "none-7", "A0", "NA-1", "1", "unknown_merchant_4", "-1", "0.1", "n"]
)
def test_t8_a_real_id_is_taken(text: str) -> None:
    """Only exactly a placeholder is one; what merely begins like it, or is short, is an id."""
    assert generic_rows.identifier(text) == text


class FakeBank:
    """A bank that says one page."""

    name, base_url, capabilities = "fake", "http://bank", cast(Any, None)

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def balances(self, account_id: str | None) -> AsyncIterator[Any]:
        self.asked.append(account_id)
        yield generic_page([FetchedBalance("new", "USD", 1, None, NOW), FetchedBalance("other", "USD", 2, None, NOW)])

    async def changes(self, cursor: str | None) -> AsyncIterator[ChangePage]:
        self.asked.append(cursor)
        rows = [fetched("new"), fetched("old"), fetched("other")]
        yield ChangePage(rows, [Removed("old", "t"), Removed("new", "u")], [], "c", False, NOW)


def generic_page(rows: list[Any]) -> Any:
    from banks.ports import Page

    return Page(rows, [], None, NOW)


def fetched(account_id: str) -> FetchedTransaction:
    moment = NOW - timedelta(days=1)
    return FetchedTransaction(
        account_id, "t", -1, "USD", "posted", "card", "x", None, None, None, None, moment, moment.date(), b""
    )


async def test_t12_pages_come_under_the_former_id() -> None:
    """Rows of the new id are the account's; what the bank takes back under the former id does not undo them."""
    bank = FakeBank()
    reader = RenamedReader(cast(BankReader, bank), {"new": "old"})

    (balances,) = [page async for page in reader.balances("old")]
    (changes,) = [page async for page in reader.changes("here")]

    assert bank.asked == ["new", "here"]
    assert [row.account_id for row in balances.rows] == ["old", "other"]
    assert [row.account_id for row in changes.upserts] == ["old", "other"]
    assert list(changes.removed) == [Removed("old", "u")]
