"""How often a feed is polled: by what changed, by who reads, and less when it is sick."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from banks.ports import BankThrottled, BankUnreachable
from ingest import store
from ingest.demand import Demands
from ingest.pace import Pace
from ingest.poll import Desk, poll
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import ModelBank, ModelReader

PACE = Pace(quick_seconds=100, slow_seconds=1_000)


@pytest.fixture
def reader(bank: ModelBank) -> ModelReader:
    """The bank with a transaction, read by its delta feed."""
    bank.post("acct_a", -1)
    return ModelReader(bank)


@pytest.fixture
async def desk(reader: ModelReader, mirror: Mirror) -> Desk:
    """A desk that sets the pace, with everything read once."""
    desk = (await mirror.open(reader, poll_seconds=100))._replace(pace=PACE)
    await mirror.poll(desk, "accounts")
    await mirror.poll(desk, "balances")
    await mirror.poll(desk)
    return desk


async def silence(mirror: Mirror, seconds: int) -> None:
    """Nothing has changed or been read for so long."""
    await mirror.owner.execute(
        f"UPDATE sync.targets SET demanded_at = NULL, changed_at = clock_timestamp() - interval '{seconds} s'".encode()
    )


async def pauses(mirror: Mirror, account_id: str = "") -> tuple[float, float, float]:
    """The interval of the transactions, and the seconds until they are due and stale."""
    found: tuple[float, float, float] = await mirror.target(
        "ARRAY[interval_seconds, extract(epoch FROM due_at - clock_timestamp()),"
        " extract(epoch FROM fresh_until - clock_timestamp())]::float8[]",
        account_id=account_id,
    )
    return found


def demands(desk: Desk, due: Callable[[], None] = lambda: None) -> Demands:
    """What ingest hears with."""
    return Demands(desk.pool, "default", PACE.quick_seconds, due)


async def heed(hearing: Demands) -> None:
    """One round, as `work` does it."""
    while await hearing._round():  # noqa: ASYNC110  # Until no lock is in the way.
        await asyncio.sleep(0.05)


async def test_what_sleeps_is_polled_less_and_still_fresh(desk: Desk, mirror: Mirror) -> None:
    """After an hour without a change the pause is three minutes, and the answers are fresh by that pace."""
    await silence(mirror, 4_000)
    await mirror.poll(desk)

    interval, due, fresh = await pauses(mirror)
    assert 200 <= interval < 220
    assert interval - 20 < due <= interval * 1.1
    assert 2 * interval - 20 < fresh < 2 * interval + 30


async def test_what_wakes_up_is_polled_quickly(desk: Desk, bank: ModelBank, mirror: Mirror) -> None:
    """The first change after a long silence brings the quick pace back."""
    await silence(mirror, 400_000)
    await mirror.poll(desk)
    assert (await pauses(mirror))[0] == PACE.slow_seconds

    bank.post("acct_a", -2)
    await mirror.poll(desk)

    interval, due, fresh = await pauses(mirror)
    assert (interval, due < 111, fresh < 240) == (PACE.quick_seconds, True, True)
    assert await mirror.target("clock_timestamp() - changed_at < interval '100 s'") is True


async def test_t27_to_be_throttled_is_no_silence(desk: Desk, reader: ModelReader, mirror: Mirror) -> None:
    """A bank that says 429 has not said that nothing happened: pace and freshness stay what they were."""
    before = await mirror.target("(interval_seconds, changed_at, synced_at, fresh_until)")

    def refuse(page: int) -> None:
        raise BankThrottled("HTTP 429", timedelta(seconds=5))

    reader.before_page = refuse
    assert (await mirror.poll(desk)).outcome == "throttled"

    assert await mirror.target("(interval_seconds, changed_at, synced_at, fresh_until)") == before


async def test_an_errand_leaves_the_pace_alone(desk: Desk, mirror: Mirror) -> None:
    """A run with an end polls once and knows nothing of the settings of the process that stays."""
    await silence(mirror, 400_000)
    await mirror.poll(desk)
    await silence(mirror, 0)
    await mirror.poll(desk._replace(pace=None))

    assert (await pauses(mirror))[0] == PACE.slow_seconds


# ── demand ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_read_is_held_to_the_quick_pace(desk: Desk, mirror: Mirror) -> None:
    """A demand for any account of a connection's feed brings its poll forward, and staleness with it."""
    await silence(mirror, 400_000)
    await mirror.poll(desk)
    hearing = demands(desk)

    hearing.hear('{"accounts": ["acct_b", "of another bank"]}')
    await heed(hearing)

    _, due, fresh = await pauses(mirror)
    assert due <= 100
    assert 100 < fresh <= 202, "the reader is given the time of the poll, and no more"
    await mirror.poll(desk)
    assert (await pauses(mirror))[0] == PACE.quick_seconds


@pytest.mark.parametrize(
    "payload",
    [
        '{"accounts": ["of another bank"]}',
        '{"accounts": []}',
        "[]",
        "",
        '{"accounts": [1]}',
        '{"accounts": null, "max_age": -1}',
    ],
)
async def test_what_concerns_nobody_moves_nothing(payload: str, desk: Desk, mirror: Mirror) -> None:
    """Accounts that we do not have, and whatever else somebody may send."""
    before = await mirror.ask("SELECT target::text FROM sync.targets AS target ORDER BY feed")
    hearing = demands(desk)

    hearing.hear(payload)
    await heed(hearing)

    assert await mirror.ask("SELECT target::text FROM sync.targets AS target ORDER BY feed") == before


async def test_only_the_accounts_that_are_read_are_woken(reader: ModelReader, mirror: Mirror) -> None:
    """Where each account has its own feed, the others sleep on; who reads a list of all wakes none of them."""
    reader.capabilities = ModelReader(reader.bank, delta_feed=False).capabilities
    desk = await mirror.open(reader, poll_seconds=100)
    await mirror.owner.execute("UPDATE sync.targets SET due_at = now() + interval '1 h', synced_at = now()")
    hearing = demands(desk)

    async def woken() -> list[tuple[Any, ...]]:
        return await mirror.ask(
            "SELECT feed, account_id FROM sync.targets WHERE due_at < now() + interval '10 min' ORDER BY 1, 2"
        )

    hearing.hear('{"accounts": ["acct_a"]}')
    await heed(hearing)
    assert await woken() == [("accounts", ""), ("balances", ""), ("transactions", "acct_a")]

    await mirror.owner.execute(
        "UPDATE sync.targets SET due_at = now() + interval '1 h', demanded_at = now() - interval '1 h'"
    )
    hearing.hear('{"accounts": null}')
    await heed(hearing)
    assert await woken() == [("accounts", ""), ("balances", "")]


@pytest.mark.parametrize(("max_age", "is_due"), [(0, True), (60, False)])
async def test_a_reader_that_wants_it_newer_is_polled_for_now(
    max_age: int, is_due: bool, desk: Desk, mirror: Mirror
) -> None:
    """With `max_age` a target is due at once if what we have is older, a second after its last poll at the earliest."""
    await mirror.owner.execute(
        "UPDATE sync.targets SET synced_at = now() - interval '30 s', attempted_at = now() - interval '30 s',"
        " due_at = now() + interval '1 h'"
    )
    told: list[bool] = []
    hearing = demands(desk, lambda: told.append(True))

    hearing.hear(f'{{"accounts": ["acct_a"], "max_age": {max_age}}}')
    await heed(hearing)

    assert await mirror.target("due_at <= clock_timestamp()") is is_due
    assert told


async def test_t56_a_hint_during_a_run_is_followed_by_another_run(desk: Desk, mirror: Mirror) -> None:
    """What the bank changed after its page was read is not in the page: one more poll comes, a second later."""
    claim = await mirror.claim(desk)
    hearing = demands(desk)
    hearing.hasten(["acct_a"])
    await heed(hearing)

    await poll(desk, claim)

    assert (await pauses(mirror))[1] <= 1.0
    assert await mirror.target("due_at >= attempted_at + interval '1 second'") is True
    await mirror.poll(desk)
    assert (await pauses(mirror))[1] > 50, "and only one"


async def test_a_demand_during_a_run_counts(desk: Desk, mirror: Mirror) -> None:
    """Who reads while a slow feed is polled is heard: the next poll is at the quick pace."""
    await silence(mirror, 400_000)
    claim = await mirror.claim(desk)
    hearing = demands(desk)
    hearing.hear('{"accounts": ["acct_a"]}')
    await heed(hearing)

    await poll(desk, claim)

    assert (await pauses(mirror))[0] == PACE.quick_seconds


async def test_a_hint_waits_for_who_is_storing_and_is_not_lost(desk: Desk, mirror: Mirror) -> None:
    """A target that a run is just storing into is asked again; nobody waits for its lock, and nothing deadlocks."""
    hearing = demands(desk)
    async with desk.pool.connection() as storing:
        await storing.execute("SELECT FROM sync.targets WHERE feed = 'transactions' FOR UPDATE")
        hearing.hasten(None)
        assert await hearing._round() is True
        assert await mirror.target("hastened_at") is None
        assert await mirror.target("hastened_at", "balances") is not None
    await heed(hearing)

    assert await mirror.target("hastened_at") is not None


@pytest.mark.parametrize(
    "ask", [lambda hearing: hearing.hasten(None), lambda hearing: hearing.hear('{"accounts": ["acct_a"]}')]
)
async def test_nobody_hurries_what_fails(
    ask: Callable[[Demands], None], desk: Desk, reader: ModelReader, mirror: Mirror
) -> None:
    """A bank in trouble is not asked more often because many read: its pause stands."""

    def fail(page: int) -> None:
        raise BankUnreachable("HTTP 500")

    reader.before_page = fail
    for _ in range(4):
        await mirror.poll(desk)
    before = await mirror.target("due_at")
    hearing = demands(desk)

    ask(hearing)
    await heed(hearing)

    assert await mirror.target("due_at") == before


# ── the circuit ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def by_account(reader: ModelReader, mirror: Mirror) -> Desk:
    """A bank that is read account by account."""
    reader.capabilities = ModelReader(reader.bank, delta_feed=False).capabilities
    return (await mirror.open(reader, poll_seconds=100))._replace(pace=PACE)


async def fail_often(desk: Desk, reader: ModelReader, mirror: Mirror, times: int, between: Iterable[str] = ()) -> None:
    """Polls of one account's transactions that fail; after each of them, other feeds are polled and succeed."""

    def fail(page: int) -> None:
        raise BankUnreachable("HTTP 500")

    for _ in range(times):
        reader.before_page = fail
        await mirror.poll(desk, "transactions", "acct_a")
        reader.before_page = lambda page: None
        for feed in between:
            await mirror.poll(desk, feed)  # type: ignore[arg-type]  # one of the feeds


async def test_t51_t52_a_sick_account_is_probed_now_and_then(
    by_account: Desk, reader: ModelReader, mirror: Mirror
) -> None:
    """While the bank answers for others, the account that keeps failing rests longer and longer, and says so."""
    await fail_often(by_account, reader, mirror, 4, between=["accounts"])
    assert (await pauses(mirror, "acct_a"))[1] <= 60
    assert await mirror.target("circuit_opened_at", account_id="acct_a") is None

    await fail_often(by_account, reader, mirror, 3, between=["accounts"])

    _, due, _ = await pauses(mirror, "acct_a")
    assert 150 < due <= 240
    opened, error = (
        await mirror.ask(
            "SELECT circuit_opened_at IS NOT NULL, last_error FROM sync.targets"
            " WHERE account_id = 'acct_a' AND feed = 'transactions'"
        )
    )[0]
    assert opened
    assert error.startswith(
        "bank-unreachable: HTTP 500 (7 times in a row while the bank answers for others; tried again at"
    )
    (reason,) = (
        await mirror.ask("SELECT reason FROM read.feeds WHERE account_id = 'acct_a' AND feed = 'transactions'")
    )[0]
    assert "7 times in a row" in reason
    # The other account is none the worse for it.
    assert (await mirror.poll(by_account, "transactions", "acct_b")).outcome == "complete"


async def test_t51_a_probe_that_succeeds_closes_the_circuit(
    by_account: Desk, reader: ModelReader, mirror: Mirror
) -> None:
    """One success, and it is polled as before."""
    await fail_often(by_account, reader, mirror, 7, between=["accounts"])
    assert (await mirror.poll(by_account, "transactions", "acct_a")).outcome == "complete"

    closed = await mirror.target("(circuit_opened_at, failing_since, failures, last_error)", account_id="acct_a")
    assert closed == (None, None, "0", None)
    assert (await pauses(mirror, "acct_a"))[1] <= 110


async def test_b1_a_bank_that_is_away_opens_no_circuit(by_account: Desk, reader: ModelReader, mirror: Mirror) -> None:
    """When nothing is answered the accounts are not sick: all are back within a minute of the bank's return."""
    await fail_often(by_account, reader, mirror, 12)

    assert await mirror.target("circuit_opened_at", account_id="acct_a") is None
    assert (await pauses(mirror, "acct_a"))[1] <= 60


async def test_t51_to_be_throttled_is_no_sickness(by_account: Desk, reader: ModelReader, mirror: Mirror) -> None:
    """However often the bank says 429, its own pause counts."""

    def refuse(page: int) -> None:
        raise BankThrottled("HTTP 429", timedelta(seconds=3))

    for _ in range(8):
        reader.before_page = refuse
        await mirror.poll(by_account, "transactions", "acct_a")
        reader.before_page = lambda page: None
        await mirror.poll(by_account, "accounts")

    assert await mirror.target("circuit_opened_at", account_id="acct_a") is None
    assert (await pauses(mirror, "acct_a"))[1] <= 3


async def test_a_dead_process_is_no_failure_of_the_account(by_account: Desk, mirror: Mirror) -> None:
    """Leases that end without a word count for nothing."""
    for _ in range(7):
        await mirror.claim(by_account, "transactions", "acct_a")
        await mirror.owner.execute("UPDATE sync.targets SET lease_until = '-infinity'")
    assert await mirror.target("(failures, circuit_opened_at)", account_id="acct_a") == ("0", None)
    assert isinstance((await mirror.claim(by_account, "transactions", "acct_a")), store.Claim)
