"""A balance is an opening and the entries since: stored by ingest, asked of the read API, tied to the cent."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from ingest.poll import Desk
from readapi import explain, models
from readapi.store import QUERIES
from tests.integration.history.book import Book
from tests.integration.ingest.model_bank import NOW, TODAY, ModelBank, ModelReader

EXPLAIN = "/banking/accounts/acct_a/balance/explain"


class Ledger:
    """A bank whose balances are the sums of its rows, and a mirror that reads either when it is told."""

    def __init__(self, book: Book, bank: ModelBank, client: httpx.AsyncClient, desk: Desk) -> None:
        self.book = book
        self.bank = bank
        self.client = client
        self.desk = desk
        self.reads = 0

    async def balances(self) -> None:
        """Read what the bank states now."""
        self.reads += 1
        for account_id in self.bank.accounts:
            rows = [row for (owner, _), row in self.bank.rows.items() if owner == account_id]
            current = 100_00 + sum(row["amount_cents"] for row in rows if row["status"] == "posted")
            held = sum(row["amount_cents"] for row in rows if row["status"] == "pending" and row["amount_cents"] < 0)
            # Later than any row, so that the bank's own times never decide alone.
            self.bank.set_balance(account_id, current, as_of=NOW + timedelta(days=1, seconds=self.reads))
            self.bank.balances[account_id]["available_cents"] = current + held
        await self.book.mirror.poll(self.desk, "balances")

    async def entries(self) -> None:
        """Read what the bank shows now."""
        await self.book.mirror.poll(self.desk)

    async def both(self) -> None:
        """Read entries, and then balances."""
        await self.entries()
        await self.balances()

    async def explained(self, **query: Any) -> models.BalanceExplanation:
        """The explanation, with its sums checked."""
        response = await self.client.get(EXPLAIN, params={"limit": 500, **query})
        assert response.status_code == 200, response.text
        found = models.BalanceExplanations.model_validate_json(response.content).data
        assert found.balance is not None
        assert found.opening is not None
        assert sum(entry.effect_minor for entry in found.entries) == found.entries_minor
        assert found.opening.opening_minor + (found.entries_minor or 0) == found.explained_minor
        assert (found.explained_minor or 0) + (found.difference_minor or 0) == found.balance.current_minor
        return found

    async def ties(self, **query: Any) -> list[tuple[str, str, int]]:
        """The entries of an explanation that ties exactly, those that were learned first first."""
        found = await self.explained(**query)
        assert (found.ties, found.difference_minor) == (True, 0), found.reason
        assert found.opening is not None
        assert found.opening.source == "stated"
        return [(entry.transaction_id, entry.kind, entry.effect_minor) for entry in reversed(found.entries)]


@pytest.fixture
async def ledger(book: Book, bank: ModelBank, client: httpx.AsyncClient) -> Ledger:
    """An account with a history, read once: from here on, every balance can be explained."""
    for day in range(30):
        bank.post("acct_a", -1_00, day=TODAY - timedelta(days=day + 2))
    ledger = Ledger(book, bank, client, await book.mirror.open(ModelReader(bank)))
    await ledger.both()
    return ledger


async def test_every_entry_since_with_its_id(ledger: Ledger) -> None:
    """Opening and entries are the balance; what is pending makes what is available."""
    salary = ledger.bank.post("acct_a", 2_000_00)
    coffee = ledger.bank.post("acct_a", -4_50)
    hold = ledger.bank.hold("acct_a", -30_00)
    await ledger.both()

    assert await ledger.ties() == [(salary, "booked", 2_000_00), (coffee, "booked", -4_50)]
    found = await ledger.explained()
    assert found.opening is not None
    assert found.balance is not None
    assert (found.opening.opening_minor, found.balance.current_minor) == (70_00, 2_065_50)
    assert found.reason is None
    assert [entry.transaction_id for entry in found.pending] == [hold]
    assert (found.pending_minor, found.available_explained_minor) == (-30_00, 2_035_50)
    assert found.available_difference_minor == 0
    assert found.newer == []


async def test_corrections_removals_and_settlements(ledger: Ledger) -> None:
    """Each by its effect: what was booked before counts with the difference, what came and went not at all."""
    known = ledger.bank.post("acct_a", -10_00)
    gone = ledger.bank.post("acct_a", -20_00)
    hold = ledger.bank.hold("acct_a", -40_00)
    await ledger.both()
    opening = len(await ledger.ties())
    assert opening == 2

    ledger.bank.change("acct_a", known, amount_cents=-11_00)
    ledger.bank.remove("acct_a", gone)
    settled = ledger.bank.settle("acct_a", hold, -41_00)
    passing = ledger.bank.post("acct_a", -5_00)
    await ledger.both()
    ledger.bank.remove("acct_a", passing)
    ledger.bank.change("acct_a", known, description="Other words")
    late = ledger.bank.post("acct_a", -7_00, day=TODAY - timedelta(days=20))
    await ledger.both()

    # From the first balance on, what was booked, corrected and removed since is one line, or none.
    assert sorted(await ledger.ties()) == sorted(
        [(known, "corrected", -11_00), (settled, "booked", -41_00), (late, "booked", -7_00)]
    )


async def test_an_entry_that_was_read_after_its_balance(ledger: Ledger) -> None:
    """The balance holds it already, though we learned of it later: it is placed where it ties, and that is said."""
    early = ledger.bank.post("acct_a", -3_00)
    await ledger.balances()
    assert (await ledger.explained()).difference_minor == -3_00, "the entry is not read yet"
    await ledger.entries()

    assert await ledger.ties() == [(early, "booked", -3_00)]
    assert "different moments" in ((await ledger.explained()).reason or "")
    # And as an opening, it does not count again.
    later = ledger.bank.post("acct_a", -2_00)
    await ledger.both()
    assert await ledger.ties() == [(early, "booked", -3_00), (later, "booked", -2_00)]


async def test_an_opening_that_held_what_was_read_after_it(
    book: Book, bank: ModelBank, client: httpx.AsyncClient
) -> None:
    """The first balance after the history was loaded holds an entry that came with the next poll."""
    ledger = Ledger(book, bank, client, await book.mirror.open(ModelReader(bank)))
    await ledger.entries()
    bank.post("acct_a", -3_00)
    await ledger.balances()
    await ledger.entries()
    later = bank.post("acct_a", -2_00)
    await ledger.both()

    assert await ledger.ties() == [(later, "booked", -2_00)]
    assert "different moments" in ((await ledger.explained()).reason or "")


async def test_an_entry_that_the_balance_does_not_hold_yet(ledger: Ledger) -> None:
    """It is told apart, and what the balance holds ties without it."""
    booked = ledger.bank.post("acct_a", -3_00)
    await ledger.both()
    newer = ledger.bank.post("acct_a", -9_00)
    await ledger.entries()

    assert await ledger.ties() == [(booked, "booked", -3_00)]
    found = await ledger.explained()
    assert (found.newer, found.newer_minor) == ([newer], -9_00)


async def test_a_balance_that_lags(ledger: Ledger) -> None:
    """The bank shows an entry before its balance has it: it is newer, though the balance was read after it."""
    booked = ledger.bank.post("acct_a", -3_00)
    await ledger.both()
    lagging = ledger.bank.post("acct_a", -9_00)
    await ledger.entries()
    ledger.bank.balances["acct_a"]["as_of"] = (NOW + timedelta(days=1, seconds=100)).isoformat()
    await ledger.book.mirror.poll(ledger.desk, "balances")

    assert await ledger.ties() == [(booked, "booked", -3_00)]
    assert (await ledger.explained()).newer == [lagging]


async def test_what_cannot_be_proved_is_not_called_wrong(ledger: Ledger) -> None:
    """While entries were not read after the balance, a difference is told as a difference and as nothing worse."""
    ledger.bank.post("acct_a", -3_00)
    ledger.bank.post("acct_a", -4_00)
    await ledger.balances()

    found = await ledger.explained()
    assert (found.ties, found.difference_minor) == (None, -7_00)
    assert (found.reason or "").startswith("unprovable")


async def test_a_bank_that_contradicts_itself(ledger: Ledger) -> None:
    """All that it shows was read after its balance, and nothing that was beside it explains the rest."""
    ledger.bank.post("acct_a", -3_00)
    await ledger.both()
    ledger.bank.balances["acct_a"]["current_cents"] -= 1
    await ledger.book.mirror.poll(ledger.desk, "balances")
    await ledger.entries()

    found = await ledger.explained()
    assert (found.ties, found.difference_minor) == (False, -1), found.reason
    assert "is not the sum" in (found.reason or "")


async def test_without_a_balance_before(book: Book, bank: ModelBank, client: httpx.AsyncClient) -> None:
    """Counted back from the only one that there is, which proves nothing; the twenty newest entries at most."""
    for day in range(25):
        bank.post("acct_a", -1_00, day=TODAY - timedelta(days=day))
    ledger = Ledger(book, bank, client, await book.mirror.open(ModelReader(bank)))
    await ledger.both()

    found = await ledger.explained()
    assert found.opening is not None
    assert (found.opening.source, found.opening.opening_minor, found.ties) == ("computed", 95_00, None)
    assert (found.entries_count, found.difference_minor) == (20, 0)
    since = await ledger.explained(**{"from": (TODAY - timedelta(days=1)).isoformat()})
    assert since.opening is not None
    assert (since.entries_count, since.opening.opening_minor) == (2, 77_00)
    assert since.opening.from_ == TODAY - timedelta(days=1)


async def test_a_history_that_came_after_its_balance(book: Book, bank: ModelBank, client: httpx.AsyncClient) -> None:
    """What is loaded after the first balance is history, and no news."""
    bank.post("acct_a", -1_00)
    ledger = Ledger(book, bank, client, await book.mirror.open(ModelReader(bank)))
    await ledger.balances()
    await ledger.entries()

    found = await ledger.explained()
    assert found.opening is not None
    assert (found.opening.source, found.opening.opening_minor, found.entries_count) == ("computed", 100_00, 1)
    assert found.newer == []


async def test_pages(ledger: Ledger) -> None:
    """The sums are of all pages; each entry is on one."""
    posted = [ledger.bank.post("acct_a", -number) for number in range(1, 8)]
    await ledger.both()
    shown: list[str] = []
    path: str | None = f"{EXPLAIN}?limit=3"
    while path is not None:
        response = await ledger.client.get(path)
        data = response.json()["data"]
        assert (data["entries_count"], data["entries_minor"], data["ties"]) == (7, -28, True)
        shown += [entry["transaction_id"] for entry in data["entries"]]
        path = response.links["next"]["url"] if "next" in response.links else None

    assert sorted(shown) == sorted(posted)


async def test_a_currency_without_a_balance(ledger: Ledger) -> None:
    """Null is not zero: there is nothing to explain."""
    data = (await ledger.client.get(EXPLAIN, params={"currency": "EUR"})).json()["data"]

    assert data["balance"] is data["opening"] is data["ties"] is data["difference_minor"] is None
    assert data["reason"] == "the bank states no balance in this currency"
    models.BalanceExplanation.model_validate(data)
    missing = await ledger.client.get("/banking/accounts/none/balance/explain")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize(
    ("scene", "part", "without"),
    [
        # What was believed and is no more does not count.
        (
            test_corrections_removals_and_settlements,
            "past.transaction_id, -past.amount_minor",
            "past.transaction_id, 0",
        ),
        # A balance holds what we had learned when it was read, and nothing else, by our time and by the bank's.
        (
            test_an_entry_that_was_read_after_its_balance,
            """(false, 1, next, false, NULL, NULL),
           (false, 2, last - interval '1 us', false, NULL, NULL),
           (false, 3, closes_at, true, coalesce(last, next), coalesce(next, last))""",
            "(false, 2, last - interval '1 us', false, NULL, NULL)",
        ),
        (test_a_balance_that_lags, "(false, 2, last - interval '1 us'", "(false, 2, last"),
    ],
)
async def test_a_part_that_is_missing_is_missed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, scene: Any, part: str, without: str
) -> None:
    """The tests above can fail: with a part of the question left out, it does not tie."""
    query = QUERIES["balance_explain"]
    assert part in query
    monkeypatch.setattr(explain, "QUERIES", {**QUERIES, "balance_explain": query.replace(part, without)})

    with pytest.raises(AssertionError):
        await scene(ledger)
