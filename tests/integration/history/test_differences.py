"""Why a past day changed: each kind of difference, told as what it is, and the sums that tie."""

import io
import json
from datetime import UTC, date, datetime, timedelta

import pytest
from typer.testing import CliRunner

from bankmirror import diff
from bankmirror.cli import app
from kernel.errors import StartupError
from readapi.store import QUERIES
from tests.integration.history.book import Book
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader

PAST = TODAY - timedelta(days=12)


async def told(book: Book, query: str = "") -> list[tuple[str, str]]:
    """The differences between the last two noted moments."""
    return await book.kinds(book.noted[-2], book.noted[-1], query)


async def test_t24_a_late_posting_is_flagged(book: Book, bank: ModelBank) -> None:
    """What is booked twelve days back and appears today is `late`; what is booked today is `new`."""
    desk = await book.mirror.open(ModelReader(bank))
    await book.note()
    late, new = bank.post("acct_a", -1_200, day=PAST), bank.post("acct_a", 700)
    await book.mirror.poll(desk)
    await book.note()

    assert await told(book) == [(late, "late"), (new, "new")]
    found = await book.diff(book.noted[0], book.noted[1], f"&to={PAST}")
    (line,) = found["summary"]
    assert (line["known_from"], line["known_to"], line["change"], line["ties"]) == ("0.00", "-12.00", "-12.00", True)
    assert line["kinds"] == [{"kind": "late", "entries": 1, "effect_minor": -1200, "effect": "-12.00"}]


async def test_t29_t32_a_late_correction_names_its_fields(book: Book, bank: ModelBank) -> None:
    """A booked entry may change: its amount is `corrected`, its day alone `re-dated`; the month's edge counts both."""
    amount, day, both = (bank.post("acct_a", -1_000, day=PAST) for _ in range(3))
    desk = await book.mirror.open(ModelReader(bank))
    await book.mirror.poll(desk)
    await book.note()
    bank.change("acct_a", amount, amount_cents=-1_500, description="Tea")
    bank.change("acct_a", day, booked_on=TODAY.isoformat())
    bank.change("acct_a", both, amount_cents=-1_001, booked_on=TODAY.isoformat())
    await book.mirror.poll(desk)
    await book.note()

    assert await told(book) == [(amount, "corrected"), (day, "re-dated"), (both, "corrected")]
    found = await book.diff(book.noted[0], book.noted[1], f"&from={PAST}&to={PAST}")
    assert [(line["changed"], line["effects"][0]["effect_minor"]) for line in found["differences"]] == [
        (["amount_minor", "description"], -500),
        (["booked_on"], 1_000),
        (["amount_minor", "booked_on"], 1_000),
    ]
    assert [line["change_minor"] for line in found["summary"]] == [1_500]
    assert (found["differences"][0]["before"]["amount"], found["differences"][0]["after"]["amount"]) == (
        "-10.00",
        "-15.00",
    )


async def test_t30_a_removed_row_is_still_known_at_its_time(book: Book, bank: ModelBank) -> None:
    """The bank deletes an entry: an answer as known before shows it, and the difference says `removed`. Back again it
    is `returned`, and over both moments nothing happened.
    """
    gone = bank.post("acct_a", -1_000, day=PAST)
    row = dict(bank.rows["acct_a", gone])
    desk = await book.mirror.open(ModelReader(bank))
    await book.mirror.poll(desk)
    before = await book.note()
    bank.remove("acct_a", gone)
    await book.mirror.poll(desk)
    without = await book.note()
    assert [row[1] for row in await book.known(before)] == [gone]
    assert await book.known(without) == []
    assert await told(book) == [(gone, "removed")]
    bank.put_row(row)
    await book.mirror.poll(desk)
    after = await book.note()

    assert await told(book) == [(gone, "returned")]
    assert await book.kinds(before, after) == []
    await book.same_bytes()


async def test_a_settled_hold_is_one_difference(book: Book, bank: ModelBank) -> None:
    """Pending becomes posted under another id, with another amount: one line, and only the posted money counts."""
    hold = bank.hold("acct_a", -1_000)
    desk = await book.mirror.open(ModelReader(bank))
    await book.mirror.poll(desk)
    await book.note()
    posted = bank.settle("acct_a", hold, -1_150)
    await book.mirror.poll(desk)
    await book.note()
    (line,) = (await book.diff(book.noted[0], book.noted[1]))["differences"]

    assert await told(book) == [(hold, "settled")]
    assert (line["before"]["transaction_id"], line["after"]["transaction_id"]) == (hold, posted)
    assert line["effects"] == [{"currency": "USD", "effect_minor": -1150, "effect": "-11.50"}]
    assert "status" in line["changed"]


async def test_a_rekeyed_entry_changed_nothing_but_its_id(book: Book, bank: ModelBank) -> None:
    """Ended as `rekeyed`, twice in a row: one line from the first id to the last, without an effect."""
    first = bank.post("acct_a", -1_000, day=PAST)
    desk = await book.mirror.open(ModelReader(bank))
    await book.mirror.poll(desk)
    await book.note()
    for old, new in ((first, "b"), ("b", "c")):
        await book.mirror.owner.execute(
            "INSERT INTO snapshot.transaction_revisions"
            " SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,"
            " counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,"
            " known_from, run_id, now(), 'rekeyed', %s, 1 FROM snapshot.transactions WHERE transaction_id = %s",
            [new, old],
        )
        await book.mirror.owner.execute(
            "UPDATE snapshot.transactions SET transaction_id = %s, known_from = now() WHERE transaction_id = %s",
            [new, old],
        )
    await book.note()
    (line,) = (await book.diff(book.noted[0], book.noted[1]))["differences"]

    assert (line["kind"], line["changed"], line["effects"][0]["effect_minor"]) == ("rekeyed", [], 0)
    assert (line["before"]["transaction_id"], line["after"]["transaction_id"]) == (first, "c")
    assert await told(book) == [(first, "rekeyed")]


async def test_an_absent_entry(book: Book, bank: ModelBank) -> None:
    """Two complete passes did not show it: `absent`, and the sums say what that did."""
    bank.post("acct_a", -5)
    lost = bank.post("acct_a", -1_000)
    desk = await book.mirror.open(ModelReader(bank))
    await book.mirror.poll(desk)
    await book.note()
    del bank.rows["acct_a", lost]
    for _ in range(2):
        await book.mirror.owner.execute("UPDATE sync.targets SET cursor = NULL WHERE feed = 'transactions'")
        await book.mirror.poll(desk)
        await book.mirror.pass_interval()
    await book.note()

    assert await told(book) == [(lost, "absent")]


async def test_sums_that_do_not_tie_are_said(
    book: Book, bank: ModelBank, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: if a line were lost, the account is named in the answer and on the screen."""
    desk = await book.mirror.open(ModelReader(bank))
    await book.note()
    bank.post("acct_a", -1_000, day=PAST)
    await book.mirror.poll(desk)
    await book.note()
    query = QUERIES["differences_list"]
    lossy = query.replace("after_currency, counted_after\n", "after_currency, 0\n")
    assert lossy != query
    monkeypatch.setattr("readapi.moments.QUERIES", {"differences_list": lossy})
    monkeypatch.setenv("DATABASE_URL", database_url)
    screen = io.StringIO()
    await diff.show(diff.Asked(book.noted[0].at, book.noted[1].at), as_json=False, file=screen)
    found = await book.diff(book.noted[0], book.noted[1])

    assert [(line["ties"], line["change_minor"], line["explained_minor"]) for line in found["summary"]] == [
        (False, -1_000, 0)
    ]
    assert "DOES NOT TIE: acct_a" in screen.getvalue()


async def test_the_command_shows_a_summary_and_lines(
    book: Book, bank: ModelBank, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person reads the table; `--json` is the endpoint's data; `--known-to` is the newest settled moment."""
    changed, removed = bank.post("acct_a", -1_000, day=PAST), bank.post("acct_a", -300, day=PAST)
    desk = await book.mirror.open(ModelReader(bank))
    await book.mirror.poll(desk)
    before = await book.note()
    bank.change("acct_a", changed, amount_cents=-1_500)
    bank.remove("acct_a", removed)
    bank.post("acct_b", 77, day=PAST, description="\x1b[31mred [bold]x[/bold]\u202e")
    await book.mirror.poll(desk)
    after = await book.note()
    monkeypatch.setenv("DATABASE_URL", database_url)
    asked = diff.Asked(before.at, after.at)
    text, data = io.StringIO(), io.StringIO()
    await diff.show(asked, as_json=False, file=text)
    await diff.show(asked, as_json=True, file=data)
    said = text.getvalue()

    (usd,) = [
        line for line in said.splitlines() if line.startswith("acct_a") and "USD" in line and "1 corrected" in line
    ]
    assert usd.split()[:5] == ["acct_a", "USD", "-13.00", "-15.00", "-2.00"]
    assert "1 corrected (-5.00), 1 removed (+3.00)" in usd
    assert "amount_minor: -10.00 → -15.00" in said
    assert "[bold]x[/bold]" in said
    assert "\x1b" not in said
    assert json.loads(data.getvalue())["summary"] == (await book.diff(before, after))["summary"]
    newest = io.StringIO()
    await diff.show(diff.Asked(before.at, None), as_json=True, file=newest)
    assert json.loads(newest.getvalue())["summary"] == json.loads(data.getvalue())["summary"]


def test_what_was_typed_wrongly_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag and how to write it, and exit code 1; no traceback."""
    assert diff.read_asked("2026-02-01", "2026-02-02T00:00:00+01:00", None, "2026-01-01", None) == diff.Asked(
        datetime(2026, 2, 1, tzinfo=UTC),
        datetime.fromisoformat("2026-02-02T00:00:00+01:00"),
        None,
        date(2026, 1, 1),
        None,
    )
    for known_from, known_to, first in (
        ("x", None, None),
        ("2026-02-01T00:00:00", None, None),
        ("2026-02-01", "2026-02-30", None),
        ("2026-02-01", None, "1.1.26"),
    ):
        with pytest.raises(StartupError, match="--"):
            diff.read_asked(known_from, known_to, None, first, None)
    assert CliRunner().invoke(app, ["diff", "--help"]).exit_code == 0
