"""When our own database is in trouble the bank must not feel it: no poll is repeated at once."""

import threading
import time
from typing import Any

import pytest

from ingest.poll import Desk
from ingest.scheduler import Clockwork, Watchdog
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import ModelBank, ModelReader
from tests.waiting import until


async def refuse_rows(mirror: Mirror, sqlstate: str) -> None:
    """Every transaction that is stored fails with this error."""
    await mirror.owner.execute(
        "CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{sqlstate}'; END $$".encode()
    )
    await mirror.owner.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON snapshot.transactions FOR EACH ROW EXECUTE FUNCTION refuse_row()"
    )


async def run_until_asked(times: int, desk: Desk, reader: ModelReader) -> list[float]:
    """Run the process's own clockwork; when, in seconds, the bank was asked for transactions."""
    asked_at: list[float] = []
    reader.before_page = lambda page: asked_at.append(time.monotonic())
    clockwork = Clockwork(desk, "default", Watchdog(60.0, threading.Event().set))
    clockwork.start()

    async def asked() -> bool:
        return len(asked_at) >= times

    await until(asked)
    await clockwork.stop(1.0)
    return asked_at


@pytest.mark.parametrize(
    "sqlstate",
    ["53100", "55P03", "57014", "40P01"],
    ids=["disk full", "lock not available", "cancelled", "deadlock"],
)
async def test_what_the_database_refuses_is_a_failure_with_a_pause(
    sqlstate: str, bank: ModelBank, mirror: Mirror
) -> None:
    """The run failed, target and run say why, and the next try waits."""
    bank.post("acct_a", -1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    await refuse_rows(mirror, sqlstate)

    polled = await mirror.poll(desk)

    assert (polled.outcome, polled.error) == ("failed", f"not-stored: SQLSTATE {sqlstate}")
    state: Any = await mirror.ask(
        "SELECT failures, last_error, lease_holder, due_at > clock_timestamp() + interval '0.5 s'"
        " FROM sync.targets WHERE feed = 'transactions'"
    )
    assert state == [(1, f"not-stored: SQLSTATE {sqlstate}", None, True)]


@pytest.mark.parametrize("sqlstate", ["53100", "57P01"], ids=["disk full", "shut down"])
async def test_the_bank_is_not_hammered(sqlstate: str, bank: ModelBank, mirror: Mirror) -> None:
    """Pauses grow from a second on, and the bank is asked again only after them."""
    bank.post("acct_a", -1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    await refuse_rows(mirror, sqlstate)

    first, *again = await run_until_asked(3, desk, reader)

    # On a slow machine later, but never sooner, by the least that chance makes of the pauses.
    assert [again[0] - first >= 0.9, again[1] - first >= 1.9] == [True, True], "seconds"
    await mirror.owner.execute("DROP TRIGGER refuse ON snapshot.transactions")
    assert (await mirror.poll(desk)).outcome == "complete"
    assert await mirror.rows() == bank.good_rows()


async def paused(mirror: Mirror, desk: Desk) -> tuple[float, float]:
    """Poll; the seconds until the next try, counted from after the poll and from before it: the pause is in between."""
    [(began,)] = await mirror.ask("SELECT clock_timestamp()")
    await mirror.poll(desk)
    [(least, most)] = await mirror.ask(
        "SELECT extract(epoch FROM due_at - clock_timestamp())::float, extract(epoch FROM due_at - %s)::float"
        " FROM sync.targets WHERE feed = 'transactions'",
        began,
    )
    return least, most


async def test_a_lost_connection_pauses_longer_each_time(bank: ModelBank, mirror: Mirror) -> None:
    """It is no failure of the feed, but it is counted all the same, until a run gets through."""
    bank.post("acct_a", -1)
    desk = await mirror.open(ModelReader(bank))
    await refuse_rows(mirror, "57P01")
    pauses = [await paused(mirror, desk) for _ in range(3)]
    assert all(least <= pause <= most for pause, (least, most) in zip([1, 2, 4], pauses, strict=True)), pauses
    assert pauses[0][0] < 2 < pauses[2][1]
    assert await mirror.target("(failures, last_error)") == ("0", None)
    await mirror.owner.execute("ALTER TABLE snapshot.transactions DISABLE TRIGGER refuse")
    await mirror.poll(desk)
    bank.post("acct_a", -2)
    await mirror.owner.execute("ALTER TABLE snapshot.transactions ENABLE TRIGGER refuse")

    least, most = await paused(mirror, desk)

    assert least <= 1 <= most


async def test_only_transactions_move_the_views(bank: ModelBank, mirror: Mirror) -> None:
    """A run that stored accounts or balances counts its rows, and has nothing refreshed."""
    bank.post("acct_a", -1)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")
    await mirror.poll(desk)

    found = await mirror.ask("SELECT feed, rows_changed, txid IS NOT NULL FROM sync.runs ORDER BY feed")
    assert found == [("accounts", 2, False), ("balances", 2, False), ("transactions", 1, True)]
