"""When our own database is in trouble the bank must not feel it: no poll is repeated at once."""

import asyncio
import threading
from typing import Any

import pytest

from ingest.poll import Desk
from ingest.scheduler import Clockwork, Watchdog
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import ModelBank, ModelReader

SECONDS = 4.0


async def refuse_rows(mirror: Mirror, sqlstate: str) -> None:
    """Every transaction that is stored fails with this error."""
    await mirror.owner.execute(
        "CREATE FUNCTION refuse_row() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{sqlstate}'; END $$".encode()
    )
    await mirror.owner.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON snapshot.transactions FOR EACH ROW EXECUTE FUNCTION refuse_row()"
    )


async def run_for_a_while(desk: Desk, connection_id: str = "default") -> None:
    """The process's own clockwork, for some seconds."""
    clockwork = Clockwork(desk, connection_id, Watchdog(60.0, threading.Event().set))
    clockwork.start()
    await asyncio.sleep(SECONDS)
    await clockwork.stop(1.0)


def calls(reader: ModelReader) -> int:
    """How often the bank was asked for transactions."""
    return sum(what == "changes" for what, _ in reader.calls)


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
    """Pauses grow from a second on, so in four seconds the bank is asked three times at the most."""
    bank.post("acct_a", -1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    await refuse_rows(mirror, sqlstate)

    await run_for_a_while(desk)

    assert 1 <= calls(reader) <= 4
    await mirror.owner.execute("DROP TRIGGER refuse ON snapshot.transactions")
    assert (await mirror.poll(desk)).outcome == "complete"
    assert await mirror.rows() == bank.good_rows()


async def test_a_lost_connection_pauses_longer_each_time(bank: ModelBank, mirror: Mirror) -> None:
    """It is no failure of the feed, but it is counted all the same, until a run gets through."""
    bank.post("acct_a", -1)
    desk = await mirror.open(ModelReader(bank))
    await refuse_rows(mirror, "57P01")
    pauses = []
    for _ in range(3):
        await mirror.poll(desk)
        pauses.append(await mirror.target("extract(epoch FROM due_at - clock_timestamp())::float"))
    assert [round(pause) for pause in pauses] == [1, 2, 4]
    assert await mirror.target("(failures, last_error)") == ("0", None)
    await mirror.owner.execute("ALTER TABLE snapshot.transactions DISABLE TRIGGER refuse")
    await mirror.poll(desk)
    bank.post("acct_a", -2)
    await mirror.owner.execute("ALTER TABLE snapshot.transactions ENABLE TRIGGER refuse")

    await mirror.poll(desk)

    assert await mirror.target("round(extract(epoch FROM due_at - clock_timestamp()))::int") == 1


async def test_only_transactions_move_the_views(bank: ModelBank, mirror: Mirror) -> None:
    """A run that stored accounts or balances counts its rows, and has nothing refreshed."""
    bank.post("acct_a", -1)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")
    await mirror.poll(desk)

    found = await mirror.ask("SELECT feed, rows_changed, txid IS NOT NULL FROM sync.runs ORDER BY feed")
    assert found == [("accounts", 2, False), ("balances", 2, False), ("transactions", 1, True)]
