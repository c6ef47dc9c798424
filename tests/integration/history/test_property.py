"""Whatever the bank did: each moment is answered as the mirror was then, for ever, and differences add up."""

from datetime import timedelta
from itertools import combinations
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.history.book import Book, Noted
from tests.integration.ingest.model_bank import NOW, TODAY, ModelBank, ModelReader
from tests.integration.ingest.test_property import OPERATION, operate, poll_all


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    delta_feed=st.booleans(),
    chunk_rows=st.sampled_from([2, 1_000]),
    stretches=st.lists(st.lists(OPERATION, min_size=1, max_size=8), min_size=1, max_size=4),
)
async def test_each_moment_is_answered_as_it_was(
    delta_feed: bool, chunk_rows: int, stretches: list[list[tuple[Any, ...]]], book: Book
) -> None:
    """Rows, balances and sums equal a copy of the mirror of that moment, and the bytes those said at once."""
    await book.empty()
    bank = ModelBank()
    bank.open_account("acct_a")
    bank.open_account("acct_b", currency="JPY")
    reader = ModelReader(bank, delta_feed=delta_feed)
    desk = await book.mirror.open(reader, backfill_chunk_rows=chunk_rows)
    for number, operations in enumerate(stretches):
        for name, *choice in operations:
            if name == "poll":
                await poll_all(book.mirror, desk, tuple(choice) if choice else None)
                await book.note(asks=False)
            else:
                operate(bank, name, *choice)
        bank.set_balance("acct_a", number, bank_time(number))
        await book.mirror.poll(desk, "balances")
        await poll_all(book.mirror, desk)
        await book.note()
        await book.mirror.pass_interval()

    await book.same_bytes()
    for noted in book.noted:
        await check_moment(book, noted)
    for since, until in combinations(book.noted[-4:], 2):
        check_diff(await book.diff(since, until), since, until)


def bank_time(number: int) -> Any:
    """Later each time, and past."""
    return NOW + timedelta(microseconds=number)


async def check_moment(book: Book, noted: Noted) -> None:
    """Every answer against the copy."""
    for account in ("acct_a", "acct_b"):
        assert await book.known(noted, account) == noted.of(account)
    balances = await book.data(f"/banking/balances?known_at={noted.text}")
    assert [(row["account_id"], row["currency"], row["current_minor"]) for row in balances] == noted.balances
    first = (TODAY - timedelta(days=60)).isoformat()
    flow = await book.data(f"/banking/cash-flow?limit=500&from={first}&known_at={noted.text}")
    sums: dict[tuple[str, str, str], list[int]] = {}
    for account, _, amount, currency, status, booked_on, _ in noted.rows:
        if status == "posted":
            total = sums.setdefault((account, currency, booked_on), [0, 0, 0])
            total[0] += max(amount, 0)
            total[1] += min(amount, 0)
            total[2] += 1
    assert {
        (row["account_id"], row["currency"], row["period_start"]): [row["in_minor"], row["out_minor"], row["entries"]]
        for row in flow["periods"]
    } == sums


def check_diff(found: dict[str, Any], since: Noted, until: Noted) -> None:
    """What was believed, less what each line ends, plus what it begins, is what was believed then; and sums tie."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        names = ("account_id", "transaction_id", "amount_minor", "currency", "status", "booked_on")
        return tuple(row[name] for name in names)

    believed = [row[:6] for row in since.rows]
    for line in found["differences"]:
        if line["before"] is not None:
            believed.remove(key(line["before"]))
    believed += [key(line["after"]) for line in found["differences"] if line["after"] is not None]
    assert sorted(believed, key=repr) == sorted((row[:6] for row in until.rows), key=repr)

    for line in found["summary"]:
        for at, noted in (("known_from_minor", since), ("known_to_minor", until)):
            assert line[at] == posted(noted, line["account_id"], line["currency"])
        effects = [
            effect["effect_minor"]
            for difference in found["differences"]
            for effect in difference["effects"]
            if (difference["account_id"], effect["currency"]) == (line["account_id"], line["currency"])
        ]
        assert line["ties"]
        assert line["change_minor"] == line["explained_minor"] == sum(effects)
        assert line["explained_minor"] == sum(kind["effect_minor"] for kind in line["kinds"])
    silent = {(row[0], row[3]) for row in since.rows + until.rows} - {
        (line["account_id"], line["currency"]) for line in found["summary"]
    }
    assert all(posted(since, *which) == posted(until, *which) for which in silent)


def posted(noted: Noted, account_id: str, currency: str) -> int:
    """The posted money of an account at a moment."""
    return sum(row[2] for row in noted.rows if (row[0], row[3], row[4]) == (account_id, currency, "posted"))
