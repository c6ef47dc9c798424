"""The sweep finds what no poll tells, between the polls, and costs answers and restarts nothing."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from banks.ports import BankThrottled, BankUnreachable, CursorExpired, MutatedDuringPagination
from ingest import absence, store
from ingest import sweep as sweeping
from ingest.poll import Desk, poll
from ingest.sweep import sweep
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader

OLD = TODAY - timedelta(days=400)
BOTH_WAYS = pytest.mark.parametrize("delta_feed", [True, False], ids=["delta feed", "listing"])


def account(desk: Desk) -> str:
    """The account of the target that shows acct_a."""
    return "" if desk.bank.capabilities.delta_feed else "acct_a"


async def read(mirror: Mirror, desk: Desk) -> store.Claim:
    """One complete poll of that target."""
    claim = await mirror.claim(desk, "transactions", account(desk))
    assert (await poll(desk, claim)).outcome == "complete"
    return claim


async def swept(mirror: Mirror, desk: Desk, *, stretches: int = 1) -> None:
    """A sweep that is due, in so many stretches, each after a poll."""
    await mirror.owner.execute("UPDATE sync.sweeps SET due_at = now() WHERE run_id IS NULL")
    for _ in range(stretches):
        await sweep(desk, await read(mirror, desk))


async def state(mirror: Mirror) -> tuple[Any, ...]:
    """How the sweep of the one target stands: under way, how often through, why not."""
    columns = "run_id IS NOT NULL, cursor, next_day, swept_at IS NOT NULL, last_error"
    (found,) = await mirror.ask(f"SELECT {columns} FROM sync.sweeps")
    return tuple(found)


async def opened(bank: ModelBank, mirror: Mirror, *, delta_feed: bool, rows: int = 12, **changes: Any) -> Desk:
    """A mirror of a bank whose rows are far older than any overlap."""
    for number in range(rows):
        bank.post("acct_a", -number - 1, day=OLD + timedelta(days=number))
    desk = await mirror.open(ModelReader(bank, delta_feed=delta_feed), **changes)
    await sweep(desk, await read(mirror, desk))
    assert (await state(mirror))[:4] == (False, None, None, False), "the first sweep is planned, and not begun"
    return desk


@BOTH_WAYS
async def test_t18_a_sweep_finds_what_changed_in_silence(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """A correction, a new row and a ghost, all a year old: no poll shows them, two sweeps mend all three."""
    desk = await opened(bank, mirror, delta_feed=delta_feed)
    bank.rows["acct_a", "txn_000003"]["amount_cents"] = -333
    bank.rows.pop(("acct_a", "txn_000005"))
    if delta_feed:
        bank.log = list(bank.rows) + [("acct_b", "nothing")] * 12
    await read(mirror, desk)
    assert await mirror.rows() != bank.good_rows()

    await swept(mirror, desk)
    assert {row[1] for row in await mirror.rows() if row[2] == -333} == {"txn_000003"}
    assert len(await mirror.rows()) == 12, "one look is not enough"
    await mirror.pass_interval()
    await swept(mirror, desk)

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.history("txn_000005") == [("absent", -5)]
    assert (await state(mirror))[3:] == (True, None)
    await mirror.check()


@BOTH_WAYS
async def test_a_sweep_makes_no_answer_partial(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Between two of its stretches the feed is as fresh as its polls are, and its cursor is theirs."""
    bank.page_rows = 1
    desk = await opened(bank, mirror, delta_feed=delta_feed, backfill_chunk_rows=2, poll_seconds=0.000_001)
    claim = await read(mirror, desk)
    await mirror.owner.execute("UPDATE sync.sweeps SET due_at = now()")
    columns = "(cursor, checkpoint, complete, synced_at, due_at)"
    before = await mirror.target(columns, account_id=account(desk))

    await sweep(desk, claim)

    assert (await state(mirror))[0] is True
    assert await mirror.target(columns, account_id=account(desk)) == before
    assert await mirror.target("lease_holder", account_id=account(desk)) is None
    found = await mirror.ask("SELECT DISTINCT entries_refused, complete FROM read.feeds WHERE feed = 'transactions'")
    assert (0, True) in found


@BOTH_WAYS
async def test_a_sweep_goes_on_where_it_was(delta_feed: bool, bank: ModelBank, mirror: Mirror) -> None:
    """Stretch after stretch, with polls in between that change rows; a failure costs only its own stretch."""
    bank.page_rows = 1
    desk = await opened(bank, mirror, delta_feed=delta_feed, backfill_chunk_rows=2, poll_seconds=0.000_001)
    reader = desk.bank
    assert isinstance(reader, ModelReader)
    bank.rows["acct_a", "txn_000011"]["amount_cents"] = -1_111
    await swept(mirror, desk, stretches=2)
    went_on = await state(mirror)
    claim = await read(mirror, desk)

    def fail(page: int) -> None:
        raise BankUnreachable("HTTP 502")

    reader.before_page = fail
    await sweep(desk, claim)
    assert await state(mirror) == (*went_on[:4], "bank-unreachable: HTTP 502")
    reader.before_page = lambda page: None
    bank.post("acct_a", -7)
    for _ in range(40):
        await sweep(desk, await read(mirror, desk))
        if (await state(mirror))[3]:
            break

    assert (await state(mirror)) == (False, None, None, True, None)
    assert await mirror.rows() == bank.good_rows()
    await mirror.check()


@pytest.mark.parametrize("error", [MutatedDuringPagination("HTTP 409"), CursorExpired("HTTP 410")], ids=repr)
async def test_a_sweep_that_cannot_go_on_begins_anew(error: Exception, bank: ModelBank, mirror: Mirror) -> None:
    """Its pages are void; the cursor of the polls is not, and no row that was noted is a look."""
    desk = await opened(bank, mirror, delta_feed=True, backfill_chunk_rows=3, poll_seconds=0.000_001)
    reader = desk.bank
    assert isinstance(reader, ModelReader)
    await swept(mirror, desk)
    claim = await read(mirror, desk)

    def fail(page: int) -> None:
        raise error

    reader.before_page = fail
    await sweep(desk, claim)
    reader.before_page = lambda page: None

    assert (await state(mirror))[:4] == (False, None, None, False)
    assert await mirror.target("cursor") == "12"
    assert await mirror.ask("SELECT * FROM sync.missing WHERE first_missed_at IS NOT NULL") == []


async def test_a_reset_voids_the_sweep(bank: ModelBank, mirror: Mirror) -> None:
    """T19: the cursor expires while a sweep is under way: one pass from the start, and the sweep begins anew later."""
    desk = await opened(bank, mirror, delta_feed=True, backfill_chunk_rows=3, poll_seconds=0.000_001)
    await swept(mirror, desk)
    assert (await state(mirror))[0] is True
    bank.expired = {"12"}
    bank.page_rows = 5
    bank.post("acct_a", -99)

    await read(mirror, desk)

    assert (await state(mirror))[0] is False
    assert await mirror.rows() == bank.good_rows()


async def test_a_sweep_waits_for_a_bank_that_asks_for_it(bank: ModelBank, mirror: Mirror) -> None:
    """T27: throttled is no look; the poll before it stays complete."""
    desk = await opened(bank, mirror, delta_feed=False)
    reader = desk.bank
    assert isinstance(reader, ModelReader)
    claim = await read(mirror, desk)
    await mirror.owner.execute("UPDATE sync.sweeps SET due_at = now()")

    def throttle(page: int) -> None:
        raise BankThrottled("HTTP 429", timedelta(seconds=30))

    reader.before_page = throttle
    await sweep(desk, claim)

    assert (await state(mirror))[3] is False
    runs = await mirror.ask("SELECT outcome FROM sync.runs WHERE account_id = 'acct_a' ORDER BY run_id DESC LIMIT 2")
    assert runs == [("throttled",), ("complete",)]
    assert await mirror.target("(failures, complete)", account_id="acct_a") == ("0", "t")


@pytest.mark.parametrize("hours", [0.0, None])
async def test_off_is_off(hours: float | None, bank: ModelBank, mirror: Mirror) -> None:
    """With 0 hours nothing is planned."""
    bank.post("acct_a", -1)
    desk = await mirror.open(ModelReader(bank), sweep_hours=hours)

    await sweep(desk, await read(mirror, desk))

    assert await mirror.ask("SELECT count(*) FROM sync.sweeps") == [(0 if hours == 0 else 1,)]


@BOTH_WAYS
async def test_a_sweep_cut_in_its_transaction_leaves_nothing(
    delta_feed: bool, bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P4: asked to end while it stores: rows and place roll back together, the lease is given back, and it goes on."""
    desk = await opened(bank, mirror, delta_feed=delta_feed)
    claim = await read(mirror, desk)
    bank.rows["acct_a", "txn_000003"]["amount_cents"] = -333
    await mirror.owner.execute("UPDATE sync.sweeps SET due_at = now()")
    storing = asyncio.Event()

    async def stay(*_: Any) -> None:
        storing.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(sweeping, "notify_changed", stay)
        task = asyncio.create_task(sweep(desk, claim))
        await storing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert -333 not in {row[2] for row in await mirror.rows()}
    assert await mirror.target("lease_holder", account_id=account(desk)) is None
    assert await mirror.ask("SELECT count(*) FROM sync.runs WHERE outcome = 'running'") == [(0,)]
    await sweep(desk, await read(mirror, desk))
    assert -333 in {row[2] for row in await mirror.rows()}


@pytest.mark.parametrize("in_sweep", [True, False], ids=["sweep", "reset"])
async def test_what_we_hold_is_noted_in_steps_that_commit(
    in_sweep: bool, bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large mirror is noted step by step before a pass over everything; cut in between, it goes on there."""
    monkeypatch.setattr(absence, "NOTE_ROWS", 5)
    desk = await opened(bank, mirror, delta_feed=True)
    bank.rows.pop(("acct_a", "txn_000005"))
    bank.log = list(bank.rows) + [("acct_b", "nothing")] * 12
    if not in_sweep:
        await mirror.owner.execute("UPDATE sync.targets SET cursor = NULL")
    step, seen = absence._note_step, []  # Where a process may die.

    async def die_once(connection: Any, claim: Any, after: Any, scope: Any) -> bool:
        seen.append(after)
        if len(seen) == 2:
            raise BankUnreachable("died here")
        return await step(connection, claim, after, scope)

    monkeypatch.setattr(absence, "_note_step", die_once)
    for _ in range(4 if in_sweep else 5):
        if in_sweep:
            await swept(mirror, desk)
        else:
            await mirror.poll(desk)
        await mirror.pass_interval()
        await mirror.owner.execute("UPDATE sync.sweeps SET due_at = now() WHERE run_id IS NULL")

    assert seen[:4] == [None, ("acct_a", "txn_000005"), ("acct_a", "txn_000005"), ("acct_a", "txn_000010")]
    assert await mirror.rows() == bank.good_rows()
    assert await mirror.history("txn_000005") == [("absent", -5)]
    assert await mirror.ask("SELECT * FROM sync.missing") == []


async def test_a_sweep_that_is_asked_for_under_way_makes_another_follow(bank: ModelBank, mirror: Mirror) -> None:
    """The one under way has passed some of what is to be looked for: it goes on, and a second begins at its end."""
    bank.page_rows = 1
    desk = await opened(bank, mirror, delta_feed=True, backfill_chunk_rows=2, poll_seconds=0.000_001)
    await swept(mirror, desk)
    assert (await state(mirror))[0] is True

    assert await sweeping.hasten(mirror.pool, "default") == 1
    assert (await state(mirror))[0] is True
    for _ in range(40):
        await sweep(desk, await read(mirror, desk))
        if (await state(mirror))[3]:
            break

    assert (await state(mirror))[3] is True
    assert await mirror.ask("SELECT run_id IS NULL AND due_at <= clock_timestamp() FROM sync.sweeps") == [(True,)]

    for _ in range(40):
        await sweep(desk, await read(mirror, desk))
        if not (await state(mirror))[0]:
            break
    planned = "SELECT run_id IS NULL AND due_at > clock_timestamp() + interval '2 hours' FROM sync.sweeps"
    assert await mirror.ask(planned) == [(True,)], "nobody asked for a third"
