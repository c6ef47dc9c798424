"""`verify` is green on what is equal, however it became so, and names every other difference."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from banks.ports import BankAnswerInvalid, BankError, BankUnreachable, FetchedBalance, FetchedTransaction, Page, Window
from ingest import tally, verify_listed, verify_store
from ingest.poll import Desk
from ingest.verify import Comparison, Report
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import NOW, TODAY, ModelBank, ModelReader

WAYS = pytest.mark.parametrize("delta_feed", [True, False], ids=["feed", "listing"])


async def settled(bank: ModelBank, mirror: Mirror, *, delta_feed: bool) -> Desk:
    """A bank with some of everything, mirrored."""
    for number in range(7):
        bank.post("acct_a", -100 - number, day=TODAY - timedelta(days=number % 3))
    bank.post("acct_b", 5_000, description="Löhne · 給料 \u202e\x00", counterparty={"name": "ACME", "account_id": None})
    bank.hold("acct_a", -250)
    bank.settle("acct_a", bank.hold("acct_a", -300), -310, keep_pending=True)
    bank.set_balance("acct_a", -931)
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed))
    await poll_all(mirror, desk)
    return desk


async def poll_all(mirror: Mirror, desk: Desk) -> None:
    """Everything once."""
    await mirror.poll(desk, "accounts")
    await mirror.poll(desk, "balances")
    for account_id in [""] if desk.bank.capabilities.delta_feed else ["acct_a", "acct_b"]:
        await mirror.poll(desk, "transactions", account_id)


def told(report: Report) -> list[tuple[str, str, str]]:
    """What was named: the account and id, the kind, and the fields."""
    return [
        (
            f"{found.account_id} {found.subject} {found.key}".strip(),
            found.kind,
            "; ".join(f"{field.field}: bank {field.bank}, mirror {field.mirror}" for field in found.fields),
        )
        for found in report.differences
    ]


@WAYS
async def test_equal_and_says_what_was_compared(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Nothing differs: counts and sums are those of the bank, and a settled hold that it still shows is a note."""
    report = await Comparison(await settled(bank, mirror, delta_feed=delta_feed)).run()

    assert (told(report), report.moving, report.is_compared, report.looks) == ([], [], True, 1)
    a, b = report.accounts
    assert (a.rows, a.days, a.sums_minor) == (9, 3, {"USD": -721 - 250 - 310})
    assert (b.rows, b.days, b.sums_minor) == (1, 1, {"JPY": 5_000})
    assert [(note.kind, note.key) for note in report.notes] == [("settled-hold", "txn_000010")]


async def test_both_sides_tally_alike(bank: ModelBank, mirror: Mirror) -> None:
    """The digest that Python makes of a row is the one that PostgreSQL makes of its columns, whatever is in them."""
    for text in ("", "12:3", "é", "e\u0301", "😀", "a\nb\t\u200b", "x" * 4_096, "-", "@2026-01-01"):
        bank.post("acct_a", 1, description=text, counterparty={"name": text, "account_id": None})
        bank.hold(
            "acct_b",
            -(10**14),
            description=text,
            client_reference=f"ref {text[:9]}",
            created_at="1999-12-31T23:59:59.999999-11:30",
        )
    desk = await mirror.open(ModelReader(bank))
    await poll_all(mirror, desk)

    for account_id in ("acct_a", "acct_b"):
        ledger = tally.Ledger()
        cursor = await mirror.owner.execute(
            f"SELECT {', '.join(FetchedTransaction._fields)} FROM snapshot.transactions WHERE account_id = %s".encode(),
            [account_id],
        )
        ledger.add([FetchedTransaction(*row) for row in await cursor.fetchall()])
        assert ledger.rows == 9
        assert await verify_store.days_tally(mirror.pool, account_id, None, None) == ledger.book()


@WAYS
@pytest.mark.parametrize(
    ("statement", "name", "kind", "fields"),
    [
        (
            "UPDATE snapshot.transactions SET amount_minor = amount_minor + 1 WHERE transaction_id = 'txn_000001'",
            "acct_a transaction txn_000001",
            "differs",
            "amount: bank -1.00 USD, mirror -0.99 USD",
        ),
        (
            "DELETE FROM snapshot.transactions WHERE transaction_id = 'txn_000001'",
            "acct_a transaction txn_000001",
            "missing-here",
            "amount: bank -1.00 USD, mirror none; status: bank posted, mirror none;"
            " description: bank Coffee, mirror none",
        ),
        (
            "INSERT INTO snapshot.transactions SELECT account_id, 'txn_9', amount_minor, currency, status, type,"
            " description, NULL, NULL, NULL, NULL, created_at, booked_on, content_hash, known_from, run_id"
            " FROM snapshot.transactions WHERE transaction_id = 'txn_000001'",
            "acct_a transaction txn_9",
            "missing-at-bank",
            "amount: bank none, mirror -1.00 USD; status: bank none, mirror posted;"
            " description: bank none, mirror Coffee",
        ),
        (
            "UPDATE snapshot.transactions SET booked_on = booked_on - 40 WHERE transaction_id = 'txn_000001'",
            "acct_a transaction txn_000001",
            "differs",
            f"booked_on: bank {TODAY}, mirror {TODAY - timedelta(days=40)}",
        ),
        (
            "UPDATE snapshot.transactions SET description = 'Tea' WHERE transaction_id = 'txn_000001'",
            "acct_a transaction txn_000001",
            "differs",
            "description: bank Coffee, mirror Tea",
        ),
        (
            "UPDATE snapshot.transactions SET content_hash = '\\x00' WHERE transaction_id = 'txn_000009'",
            None,
            None,
            None,
        ),
        (
            "UPDATE snapshot.balances SET current_minor = current_minor - 1 WHERE account_id = 'acct_a'",
            "acct_a balance USD",
            "untied",
            "current: bank -9.31 USD, mirror -9.32 USD",
        ),
        (
            "UPDATE snapshot.daily_totals SET entries = entries + 1 WHERE account_id = 'acct_b'",
            "acct_b day JPY",
            "untied",
            "entries: bank 2, mirror 1",
        ),
    ],
    ids=["amount", "deleted", "added", "date", "text", "hash alone", "balance", "total"],
)
async def test_red_after_one_change_by_hand(
    statement: str, name: str | None, kind: str, fields: str, delta_feed: bool, bank: ModelBank, mirror: Mirror
) -> None:
    """Whatever one changes in the mirror is named, with both values, whether or not the next poll would cover it up."""
    desk = await settled(bank, mirror, delta_feed=delta_feed)
    await mirror.owner.execute(statement.encode())

    report = await Comparison(desk).run()

    assert report.is_compared
    if name is None:
        assert told(report) == []
    else:
        assert (name, kind, fields) in told(report)


@WAYS
async def test_life_at_the_bank_is_no_difference(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """New, settled, changed, re-dated and removed since the last poll: looked at again after a poll, and gone."""
    desk = await settled(bank, mirror, delta_feed=delta_feed)
    bank.post("acct_a", -1)
    bank.settle("acct_a", "txn_000009", -260)
    bank.change("acct_a", "txn_000002", amount_cents=-5)
    bank.change("acct_a", "txn_000003", booked_on=(TODAY - timedelta(days=9)).isoformat())
    bank.remove("acct_a", "txn_000004")
    bank.open_account("acct_c", current=7)
    bank.post("acct_c", 7)
    bank.set_balance("acct_a", -12, NOW + timedelta(minutes=1))

    report = await Comparison(desk).run()

    assert (told(report), report.moving, report.is_compared) == ([], [], True)
    assert report.looks >= 2
    # What is told is what was compared last.
    assert sum(account.rows for account in report.accounts) == len(await mirror.rows())
    waiting = [note.key for note in report.notes if note.kind == "awaits-second-look"]
    assert waiting == ([] if delta_feed else ["txn_000004"])


async def test_bank_that_moves_at_every_look(bank: ModelBank, mirror: Mirror) -> None:
    """What is another value at each look is never called a difference, and the comparison is not called complete."""
    desk = await settled(bank, mirror, delta_feed=True)
    reader = desk.bank
    assert isinstance(reader, ModelReader)
    amount = [0]

    def move(page: int) -> None:
        amount[0] -= 1
        bank.change("acct_a", "txn_000001", amount_cents=amount[0])

    reader.before_page = move

    report = await Comparison(desk).run()

    assert told(report) == []
    assert [found.key for found in report.moving] == ["txn_000001"]
    assert not report.is_compared


async def test_bank_that_books_at_every_look(bank: ModelBank, mirror: Mirror) -> None:
    """What is new since the first look is not what is compared: a bank that books all the time is compared, too."""
    desk = await settled(bank, mirror, delta_feed=True)
    reader = desk.bank
    assert isinstance(reader, ModelReader)

    def book(page: int) -> None:
        bank.post("acct_a", -1)

    reader.before_page = book

    report = await Comparison(desk).run()

    assert (told(report), report.moving, report.is_compared) == ([], [], True)


async def test_balance_that_moves_at_every_look(bank: ModelBank, mirror: Mirror) -> None:
    """The mirror has it word for word as the bank stated it to the poll in between: that is no difference."""
    desk = await settled(bank, mirror, delta_feed=True)
    reader = desk.bank
    assert isinstance(reader, ModelReader)
    state = reader.balances
    stated = [0]

    def moving(account_id: str | None) -> AsyncIterator[Page[FetchedBalance]]:
        stated[0] += 1
        bank.set_balance("acct_a", stated[0], NOW + timedelta(seconds=stated[0]))
        return state(account_id)

    reader.balances = moving  # type: ignore[method-assign]  # A bank that lives.

    report = await Comparison(desk).run()

    assert (told(report), report.moving, report.is_compared, report.looks) == ([], [], True, 2)


async def test_refused_rows_are_quarantined_and_not_missing(bank: ModelBank, mirror: Mirror) -> None:
    """A refused row is told as that; where the mirror has an older version of it too. One that was skipped is named."""
    desk = await settled(bank, mirror, delta_feed=True)
    good = dict(bank.rows["acct_a", "txn_000001"])
    bank.put_row({**good, "transaction_id": "txn_bad", "amount_cents": 1.5})
    bank.change("acct_a", "txn_000002", currency="XXX")
    await poll_all(mirror, desk)

    report = await Comparison(desk).run()
    assert told(report) == []
    assert {note.key for note in report.notes if note.kind == "quarantined"} == {"txn_bad", "txn_000002"}

    await mirror.owner.execute("DELETE FROM sync.quarantine WHERE transaction_id = 'txn_bad'")
    report = await Comparison(desk).run()
    assert [(found.key, found.kind) for found in report.differences] == [("txn_bad", "refused-unkept")]


@pytest.mark.parametrize("times", [1, 10], ids=["once", "always"])
async def test_b11_row_that_is_spoiled_on_the_way_is_no_difference(times: int, bank: ModelBank, mirror: Mirror) -> None:
    """Bytes that one answer spoiled are looked at again, also without a day; what every look shows is a difference."""
    desk = await settled(bank, mirror, delta_feed=True)
    good = dict(bank.rows["acct_a", "txn_000001"])
    spoiled = {**good, "transaction_id": "txn_bad", "booked_on": "infinity"}
    looks = 0
    reader = desk.bank
    assert isinstance(reader, ModelReader)
    listed = reader.transactions

    async def transactions(
        account_id: str, window: Window, cursor: str | None
    ) -> AsyncIterator[Page[FetchedTransaction]]:
        nonlocal looks
        looks += account_id == "acct_a"
        if account_id == "acct_a" and looks <= times:
            bank.rows["acct_a", "txn_bad"] = spoiled  # In the listing alone: the feed's log does not name it.
        else:
            bank.rows.pop(("acct_a", "txn_bad"), None)
        async for page in listed(account_id, window, cursor):
            yield page

    reader.transactions = transactions  # type: ignore[method-assign]
    report = await Comparison(desk).run()

    assert [(found.key, found.kind) for found in report.differences] == (
        [("txn_bad", "refused-unkept")] if times > 1 else []
    )
    assert report.is_compared


async def test_bank_that_is_away_is_not_equal(bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing compared is not nothing different."""
    monkeypatch.setattr("ingest.verify_listed.ATTEMPTS_MAX", 1)
    desk = await settled(bank, mirror, delta_feed=True)
    reader = desk.bank
    assert isinstance(reader, ModelReader)

    def fail(page: int) -> None:
        raise BankUnreachable("HTTP 503")

    reader.before_page = fail

    report = await Comparison(desk).run()

    assert told(report) == []
    assert not report.is_compared
    assert [account.error is not None for account in report.accounts] == [True, True]


async def test_some_days_of_one_account(bank: ModelBank, mirror: Mirror) -> None:
    """Only what was asked for is compared."""
    desk = await settled(bank, mirror, delta_feed=True)
    yesterday = TODAY - timedelta(days=1)
    for transaction_id in ("txn_000001", "txn_000002", "txn_000003"):  # Of today, of yesterday, of the day before.
        await mirror.ask(
            "UPDATE snapshot.transactions SET description = 'Tea' WHERE transaction_id = %s RETURNING 1", transaction_id
        )

    report = await Comparison(desk, account_id="acct_a", first=yesterday, last=yesterday).run()

    assert [found.key for found in report.differences] == ["txn_000002"]
    assert [(account.account_id, account.days) for account in report.accounts] == [("acct_a", 1)]


async def test_differences_beyond_a_thousand_are_counted(
    bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror that lost everything names some, and says on how many days more it differs."""
    monkeypatch.setattr("ingest.verify_account.NAMED_MAX", 5)
    for number in range(100):
        bank.post("acct_b", 1, day=TODAY - timedelta(days=number))
    desk = await settled(bank, mirror, delta_feed=True)
    await mirror.owner.execute("DELETE FROM snapshot.transactions WHERE account_id = 'acct_b'")

    report = await Comparison(desk).run()

    assert report.accounts[1].days_unnamed > 50
    assert {found.kind for found in report.differences} == {"missing-here", "untied"}


@pytest.mark.parametrize("error", [BankUnreachable("HTTP 502"), BankAnswerInvalid("half a JSON")])
async def test_a_hiccup_of_the_bank_is_got_over(error: BankError, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 5xx or a spoiled body, a few times in a row, costs pauses and no verdict; a lasting one is told as it is."""
    monkeypatch.setattr(verify_listed, "RETRY_SECONDS", 0.001)
    failures = 0

    async def read() -> str:
        nonlocal failures
        if failures:
            failures -= 1
            raise error
        return "read"

    failures = verify_listed.ATTEMPTS_MAX - 1
    assert await verify_listed.patiently(read) == "read"
    failures = verify_listed.ATTEMPTS_MAX
    with pytest.raises(type(error)):
        await verify_listed.patiently(read)


async def test_a_poll_between_two_looks_is_tried_again(
    bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is new at the bank is in doubt until a poll; one spoiled answer to it leaves nothing uncompared."""
    monkeypatch.setattr(verify_listed, "RETRY_SECONDS", 0.001)
    desk = await settled(bank, mirror, delta_feed=True)
    bank.post("acct_a", -1)
    spoiled: list[int] = []
    reader = desk.bank
    assert isinstance(reader, ModelReader)
    ask_changes = reader.changes

    def changes(*asked: Any, **more: Any) -> Any:
        if not spoiled:
            spoiled.append(1)
            raise BankAnswerInvalid("half a JSON")
        return ask_changes(*asked, **more)

    monkeypatch.setattr(reader, "changes", changes)
    report = await Comparison(desk).run()

    assert (spoiled, report.error, told(report), report.is_compared) == ([1], None, [], True)
