"""Days and zones, which other systems got wrong in the field: a date is never a moment, wherever anybody is."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from banks.ports import Window
from ingest.decide import DAYS_AHEAD
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.http_bank import serve_bank
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader
from tests.integration.ingest.test_process import ingest
from tests.integration.readapi.process import serving
from tests.waiting import until

ZONES = ("America/Los_Angeles", "Europe/London", "Pacific/Auckland")
# Days on which clocks change in one of them, and the ends of a year and of a February.
DAYS = [date(2026, 3, 8), date(2026, 3, 29), date(2026, 4, 5), date(2026, 9, 27), date(2026, 10, 25), date(2026, 1, 1)]
DAYS += [date(2025, 12, 31), date(2024, 2, 29)]


@pytest.mark.parametrize("zone", ZONES)
async def test_t33_a_date_is_the_same_date_in_every_zone(
    zone: str, bank: ModelBank, mirror: Mirror, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes that believe to be elsewhere: what the bank booked on a day is stored and shown on that day."""
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setenv("PGTZ", zone)
    for day in DAYS:
        bank.post("acct_a", -day.toordinal(), day=day)

    async def equal() -> bool:
        return await mirror.rows() == bank.good_rows()

    async with serve_bank(bank) as http_bank, ingest(http_bank, database_url):
        await until(equal)
    with serving(database_url) as served:
        async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
            shown = (await client.get("/banking/accounts/acct_a/transactions?limit=100")).json()["data"]

    stored = await mirror.ask("SELECT booked_on, amount_minor FROM snapshot.transactions")
    assert sorted(stored) == sorted((day, -day.toordinal()) for day in DAYS)
    assert {row["booked_on"]: row["amount_minor"] for row in shown} == {d.isoformat(): -d.toordinal() for d in DAYS}


class ShiftedReader(ModelReader):
    """A bank that takes the days of a window in a zone of its own: a day earlier or later than it books them."""

    def __init__(self, bank: ModelBank, shift: int) -> None:
        super().__init__(bank, delta_feed=False)
        self.shift = timedelta(days=shift)

    async def transactions(self, account_id: str, window: Window, cursor: str | None):  # type: ignore[no-untyped-def]
        # As in the model.
        asked = Window(window.first + self.shift, window.last + self.shift)
        async for page in super().transactions(account_id, asked, cursor):
            yield page


@pytest.mark.parametrize("shift", [-1, 1])
async def test_t34_t36_a_bank_that_takes_days_in_its_own_zone(shift: int, bank: ModelBank, mirror: Mirror) -> None:
    """What such a bank leaves out at the edge of a window is not taken for removed, and what is new is not lost."""
    for days in range(-40, DAYS_AHEAD + 1):
        bank.post("acct_a", -100 - days, day=TODAY + timedelta(days=days))
    reader = ShiftedReader(bank, 0)
    desk = await mirror.open(reader)
    await mirror.poll(desk, account_id="acct_a")
    reader.shift = timedelta(days=shift)
    for number in range(4):
        await mirror.poll(desk, account_id="acct_a")
        await mirror.pass_interval()
        bank.post("acct_a", -1000 - number, day=TODAY - timedelta(days=number % 2))
    await mirror.poll(desk, account_id="acct_a")

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.ask("SELECT * FROM snapshot.transaction_revisions") == []
    await mirror.check()


@pytest.mark.parametrize("zone", ZONES)
async def test_t35_days_of_23_and_25_hours_have_their_own_totals(zone: str, bank: ModelBank, mirror: Mirror) -> None:
    """An entry each hour around a change of the clocks counts for the day that the bank booked it on, and once."""
    expected: dict[date, list[int]] = {}
    for turn in (date(2026, 3, 29), date(2026, 10, 25), date(2026, 4, 5), date(2026, 9, 27)):
        for hour in range(72):
            moment = datetime(turn.year, turn.month, turn.day, tzinfo=UTC) + timedelta(hours=hour - 24)
            bank.post("acct_a", -hour - 1, day=moment.date(), created_at=moment.isoformat())
            expected.setdefault(moment.date(), []).append(-hour - 1)
    bank.page_rows = 100
    await mirror.owner.execute(f"SET timezone = '{zone}'".encode())
    await mirror.poll(await mirror.open(ModelReader(bank)))

    found = await mirror.ask("SELECT booked_on, out_minor, entries FROM snapshot.daily_totals")
    assert {day: (out, entries) for day, out, entries in found} == {
        day: (sum(amounts), len(amounts)) for day, amounts in expected.items()
    }
    await mirror.ask("SELECT read.refresh()")
    shown = await mirror.ask(
        "SELECT booked_on, out_minor, entries FROM read.daily_cash_flow WHERE account_id = 'acct_a'"
    )
    assert {day: (out, entries) for day, out, entries in shown} == {
        day: (sum(amounts), len(amounts)) for day, amounts in expected.items()
    }


async def refused(mirror: Mirror) -> list[tuple[Any, ...]]:
    """What is in quarantine and why; and what readers are told of the account meanwhile."""
    return await mirror.ask(
        "SELECT account_id, reason, (SELECT verdict::text FROM read.freshness('{transactions}', '{acct_a}'))"
        " FROM sync.quarantine WHERE resolved_at IS NULL"
    )


async def test_t37_a_moment_without_a_zone_is_not_guessed(bank: ModelBank, mirror: Mirror) -> None:
    """It could be any of 26 hours: kept as it came, and the answers say that they are not complete."""
    bank.post("acct_a", -1, created_at="2026-03-29T01:30:00")
    kept = bank.post("acct_a", -2)
    await mirror.poll(await mirror.open(ModelReader(bank)))

    assert await refused(mirror) == [("acct_a", "created_at has no offset from UTC", "partial")]
    assert await mirror.ask("SELECT transaction_id FROM snapshot.transactions") == [(kept,)]


async def test_t38_posted_without_a_booking_date_is_not_dated_by_us(bank: ModelBank, mirror: Mirror) -> None:
    """The day it was made is not the day it was booked. It waits, said so, and comes when the bank says the day."""
    txn = bank.post("acct_a", -1)
    bank.change("acct_a", txn, booked_on=None)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    assert await refused(mirror) == [("acct_a", "posted, but booked_on is missing", "partial")]
    assert await mirror.rows() == set()

    bank.change("acct_a", txn, booked_on="2026-03-29")
    await mirror.poll(desk)

    assert await refused(mirror) == []
    assert await mirror.ask("SELECT booked_on FROM snapshot.transactions") == [(date(2026, 3, 29),)]
