"""Whatever the bank did, however the reader dawdled: at the end of a window the copy is the mirror of that moment."""

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.changes.copy import Copy
from tests.integration.history.book import Book, Noted
from tests.integration.ingest.model_bank import NOW, ModelBank, ModelReader
from tests.integration.ingest.test_property import OPERATION, operate, poll_all

# How many pages the reader turns, of how many changes at most.
TURNS = st.tuples(st.integers(0, 3), st.sampled_from([1, 2, 3, 500]))
STRETCH = st.tuples(st.lists(OPERATION, min_size=1, max_size=8), TURNS)


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    delta_feed=st.booleans(),
    chunk_rows=st.sampled_from([2, 1_000]),
    stretches=st.lists(STRETCH, min_size=1, max_size=6),
)
async def test_a_copy_becomes_the_mirror(
    delta_feed: bool, chunk_rows: int, stretches: list[tuple[list[tuple[Any, ...]], tuple[int, int]]], book: Book
) -> None:
    """Inserts, changes, settlements, removals, re-additions; pages are turned meanwhile, and windows left amid."""
    await book.empty()
    bank = ModelBank()
    bank.open_account("acct_a")
    bank.open_account("acct_b", currency="JPY")
    desk = await book.mirror.open(ModelReader(bank, delta_feed=delta_feed), backfill_chunk_rows=chunk_rows)
    copy, one = Copy(), Copy()
    for number, (operations, (turns, limit)) in enumerate(stretches):
        for name, *choice in operations:
            if name == "poll":
                await poll_all(book.mirror, desk, tuple(choice) if choice else None)
                await book.note(asks=False)
            else:
                operate(bank, name, *choice)
        bank.set_balance("acct_a", number, NOW + timedelta(microseconds=number))
        await book.mirror.poll(desk, "balances")
        await poll_all(book.mirror, desk)
        await book.note(asks=False)
        for _ in range(turns):
            await copy.turn(book.client, limit)
            compare(copy, book)
        await one.turn(book.client, limit, account_id="acct_a")
        await book.mirror.pass_interval()

    for reader, query in ((copy, {}), (one, {"account_id": "acct_a"}), (late := Copy(), {})):
        while not reader.at_end or reader.until < book.noted[-1].at:
            await reader.turn(book.client, 2, **query)
            compare(reader, book, query.get("account_id"))
    assert late.rows == copy.rows


def compare(copy: Copy, book: Book, account_id: str | None = None) -> None:
    """At the end of a window the copy is what the mirror held then; each poll was noted, so that is the note before."""
    if not copy.at_end:
        return
    nothing = Noted(NOW, [], [])
    noted = max((noted for noted in book.noted if noted.at <= copy.until), key=lambda noted: noted.at, default=nothing)
    names = ("account_id", "transaction_id", "amount_minor", "currency", "status", "booked_on")
    told = {(*(row[name] for name in names), row["untrusted"]["description"]) for row in copy.rows.values()}
    assert told == {row for row in noted.rows if account_id in (None, row[0])}
    balances = {(*key, row["current_minor"]) for key, row in copy.balances.items()}
    assert balances == {row for row in noted.balances if account_id in (None, row[0])}
