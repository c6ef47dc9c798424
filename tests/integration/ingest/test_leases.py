"""Two processes never hold one target, and whoever lost its lease writes nothing."""

import asyncio
from collections import Counter
from datetime import timedelta

import psycopg
import pytest

from banks.ports import BankRefusedCredentials, BankThrottled, BankUnreachable
from ingest import decide, store
from ingest.advance import Advance
from ingest.apply import apply_transactions
from ingest.decide import Changeset
from ingest.poll import poll
from ingest.settings import IngestSettings
from ingest.store import FencedError
from kernel.database import Pool
from kernel.errors import StartupError
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import ModelBank, ModelReader
from tests.waiting import until


async def test_p6_a_stolen_epoch_fences_the_sleeper(bank: ModelBank, mirror: Mirror) -> None:
    """Another process claims while this one sleeps between fetch and store: nothing is written."""
    bank.post("acct_a", -1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    claim = await mirror.claim(desk)
    await mirror.owner.execute("UPDATE sync.targets SET lease_until = '-infinity' WHERE feed = 'transactions'")
    thief = await mirror.claim(desk)

    polled = await poll(desk, claim)

    assert polled.outcome == "fenced"
    assert await mirror.rows() == set()
    assert await mirror.target("(lease_epoch, cursor)") == (str(thief.lease_epoch), None)
    outcomes = await mirror.ask("SELECT outcome FROM sync.runs WHERE run_id = %s", claim.run_id)
    assert outcomes in ([("fenced",)], [("failed",)])
    assert (await poll(desk, thief)).outcome == "complete"
    assert await mirror.rows() == bank.good_rows()


async def test_a_fenced_failure_leaves_the_new_holder_alone(bank: ModelBank, mirror: Mirror) -> None:
    """A sleeper that wakes up to a failure neither frees nor delays the target of whoever took over."""
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    claim = await mirror.claim(desk)
    await mirror.owner.execute("UPDATE sync.targets SET lease_until = '-infinity' WHERE feed = 'transactions'")
    await mirror.claim(desk)
    before = await mirror.target("targets")

    def fail(page: int) -> None:
        raise BankUnreachable("HTTP 500")

    reader.before_page = fail
    await poll(desk, claim)

    assert await mirror.target("targets") == before


@pytest.mark.parametrize("pauses", [False, True])
async def test_a_sleeper_that_gives_up_does_not_free_the_new_holder(
    pauses: bool, bank: ModelBank, mirror: Mirror
) -> None:
    """Giving a lease back is under its epoch: it is not the lease of whoever took over."""
    desk = await mirror.open(ModelReader(bank))
    sleeper = await mirror.claim(desk)
    await mirror.owner.execute("UPDATE sync.targets SET lease_until = '-infinity' WHERE feed = 'transactions'")
    await mirror.claim(desk)
    before = await mirror.target("targets")

    await store.release(mirror.pool, sleeper, "any", pauses=pauses)

    assert await mirror.target("targets") == before


async def test_storing_under_an_old_epoch_raises(bank: ModelBank, mirror: Mirror) -> None:
    """The check stands in the storing transaction itself, whoever calls it."""
    desk = await mirror.open(ModelReader(bank))
    claim = await mirror.claim(desk)
    await mirror.owner.execute("UPDATE sync.targets SET lease_epoch = lease_epoch + 1")
    nothing = Changeset((), (), (), 1, 0, "7", True, True, False, None, None)

    with pytest.raises(FencedError):
        await apply_transactions(mirror.pool, claim, nothing, Advance("complete", cursor="7"))

    assert await mirror.target("cursor") is None


async def test_t31_c2_two_claimers_never_hold_the_same_target(bank: ModelBank, mirror: Mirror) -> None:
    """Twenty claimers at once over a hundred targets: each target is claimed once."""
    for number in range(100):
        bank.open_account(f"acct_{number:03}")
    desk = await mirror.open(ModelReader(bank, delta_feed=False, bulk_balances=False))

    async def claim_all(holder: str) -> list[tuple[str, str]]:
        mine: list[tuple[str, str]] = []
        while claims := await store.claim(
            desk.pool, connection_id="default", holder=holder, lease_seconds=60, targets_max=3
        ):
            mine += [(claim.feed, claim.account_id) for claim in claims]
        return mine

    claimed = await asyncio.gather(*(claim_all(f"worker {number}") for number in range(20)))

    counts = Counter(target for mine in claimed for target in mine)
    assert (len(counts), set(counts.values())) == (204, {1})


async def test_a_dead_process_leaves_its_target_to_the_next(bank: ModelBank, mirror: Mirror) -> None:
    """When a lease ends, the next claim moves the epoch on and closes the run that nobody finishes."""
    desk = await mirror.open(ModelReader(bank))
    dead = await mirror.claim(desk)
    with pytest.raises(AssertionError):
        await mirror.claim(desk)
    await mirror.owner.execute("UPDATE sync.targets SET lease_until = clock_timestamp() WHERE feed = 'transactions'")

    heir = await mirror.claim(desk)

    assert heir.lease_epoch == dead.lease_epoch + 1
    assert await mirror.ask("SELECT outcome, error FROM sync.runs WHERE run_id = %s", dead.run_id) == [
        ("failed", "the process that ran it ended")
    ]


async def test_a_long_run_keeps_its_lease(bank: ModelBank, mirror: Mirror) -> None:
    """A run that takes longer than its lease renews it, and is not taken over."""
    bank.post("acct_a", -1)
    reader = ModelReader(bank)
    desk = await mirror.open(reader, lease_seconds=3)
    claim = await mirror.claim(desk)
    until_at_first = await mirror.target("lease_until")
    slow = _Slow(bank)
    polling = asyncio.create_task(poll(desk._replace(bank=slow), claim))

    async def outlived() -> bool:
        assert not await store.claim(
            desk.pool, connection_id="default", holder="other", lease_seconds=1, only=("transactions", "")
        )
        [(is_over,)] = await mirror.ask("SELECT clock_timestamp() > %s", until_at_first)
        return bool(is_over)

    await until(outlived)
    slow.answers.set()

    assert (await polling).outcome == "complete"


class _Slow(ModelReader):
    """No page comes before a test lets the bank answer."""

    def __init__(self, bank: ModelBank) -> None:
        super().__init__(bank)
        self.answers = asyncio.Event()

    async def changes(self, cursor):  # type: ignore[no-untyped-def]  # As in the model.
        await self.answers.wait()
        async for page in super().changes(cursor):
            yield page


@pytest.mark.parametrize(
    ("error", "outcome", "least", "most"),
    [
        (BankUnreachable("connection refused"), "failed", 0.5, 1.5),
        (BankThrottled("HTTP 429", timedelta(seconds=-1_875_538)), "throttled", 0.5, 1.5),
        (BankThrottled("HTTP 429", timedelta(days=40)), "throttled", 86_390, 86_401),
        (BankRefusedCredentials("HTTP 401"), "failed", 290, 301),
    ],
)  # fmt: skip
async def test_b1_b3_b4_t27_t51_failures_wait_their_time(
    error: Exception, outcome: str, least: float, most: float, bank: ModelBank, mirror: Mirror
) -> None:
    """What fails is due again after its pause, synced_at stays, and target and run say why."""
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    await mirror.poll(desk)
    synced_at = await mirror.target("synced_at")

    def fail(page: int) -> None:
        raise error

    reader.before_page = fail
    [(began,)] = await mirror.ask("SELECT clock_timestamp()")
    await mirror.poll(desk)

    # The pause began between two looks at the clock, however long the poll took.
    [(since_end, since_begin)] = await mirror.ask(
        "SELECT extract(epoch FROM due_at - clock_timestamp())::float, extract(epoch FROM due_at - %s)::float"
        " FROM sync.targets WHERE feed = 'transactions'",
        began,
    )
    assert least <= since_begin
    assert since_end <= most
    assert await mirror.target("synced_at") == synced_at
    assert await mirror.target("last_error") == str(error)
    assert (await mirror.ask("SELECT outcome, error FROM sync.runs ORDER BY run_id DESC LIMIT 1")) == [
        (outcome, str(error))
    ]


async def test_an_unforeseen_error_is_a_failed_run(bank: ModelBank, mirror: Mirror) -> None:
    """A bug in an adapter ends its run, not the process, and its message is not shown to anyone."""
    reader = ModelReader(bank)
    desk = await mirror.open(reader)

    def fail(page: int) -> None:
        raise KeyError("IBAN of a customer")

    reader.before_page = fail
    polled = await mirror.poll(desk)

    assert (polled.outcome, polled.error) == ("failed", "internal: KeyError")


async def test_cancelling_gives_the_lease_back(bank: ModelBank, mirror: Mirror) -> None:
    """A poll that is cut short by us leaves the target free and due at once."""
    desk = await mirror.open(ModelReader(bank))
    claim = await mirror.claim(desk)
    polling = asyncio.create_task(poll(desk._replace(bank=_Slow(bank)), claim))
    await asyncio.sleep(0.2)
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling

    assert await mirror.target("(lease_holder, due_at <= clock_timestamp())") == (None, "t")
    await mirror.claim(desk)


async def test_cancelling_while_a_failure_is_written_down_gives_the_lease_back(
    bank: ModelBank, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is asked to end has no moment in which a feed would have to wait for its lease to pass."""
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    claim = await mirror.claim(desk)
    recording = asyncio.Event()

    async def slowly(*_: object, **__: object) -> None:
        recording.set()
        await asyncio.sleep(3600)

    def fail(page: int) -> None:
        raise BankUnreachable("connection refused")

    monkeypatch.setattr(store, "fail", slowly)
    reader.before_page = fail
    polling = asyncio.create_task(poll(desk, claim))
    await recording.wait()
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling

    assert await mirror.target("lease_holder") is None


@pytest.mark.parametrize("other_url", ["http://127.0.0.1:2", "http://localhost:1", "https://api.bank.example"])
async def test_another_bank_on_the_same_database_is_refused(bank: ModelBank, mirror: Mirror, other_url: str) -> None:
    """A bank is its address if nobody gives it an id, on this machine too: two would mix in one mirror."""
    await mirror.open(ModelReader(bank))
    other = ModelReader(bank)
    other.base_url = other_url

    with pytest.raises(StartupError) as refused:
        await mirror.open(other, bank_api_base_url=other_url)

    assert other_url in str(refused.value.detail)
    assert "http://127.0.0.1:1" in str(refused.value.detail)
    for way_out in ("BANK_API_BASE_URL", "DATABASE_URL", "BANKMIRROR_HOME", "--fresh"):
        assert way_out in refused.value.mend
    assert await mirror.ask("SELECT bank_id, base_url FROM sync.connections") == [("http://127.0.0.1:1",) * 2]


async def test_a_bank_with_an_id_may_move(bank: ModelBank, mirror: Mirror) -> None:
    """The same id at another port is the same bank; another id at the same address is another bank."""
    await mirror.open(ModelReader(bank), bank_id="ours")
    moved = ModelReader(bank)
    moved.base_url = "http://127.0.0.1:2"
    await mirror.open(moved, bank_api_base_url=moved.base_url, bank_id="ours")

    for bank_id in ("theirs", None):
        with pytest.raises(StartupError, match="ours"):
            await mirror.open(moved, bank_api_base_url=moved.base_url, bank_id=bank_id)

    assert await mirror.ask("SELECT bank_id, base_url FROM sync.connections") == [("ours", "http://127.0.0.1:2")]


async def test_without_data_the_bank_may_be_another(
    bank: ModelBank, mirror: Mirror, settings: IngestSettings, pool: Pool
) -> None:
    """A first start with a mistake in the address binds nobody."""
    reader, per_account = ModelReader(bank), decide.feeds_per_account(ModelReader(bank).capabilities, "auto")
    await store.register(pool, reader, "http://mistake", "default", per_account, 30, sets_pace=True)

    await mirror.open(reader)

    assert await mirror.ask("SELECT bank_id FROM sync.connections") == [("http://127.0.0.1:1",)]


async def test_listeners_hear_what_changed_when_it_is_committed(bank: ModelBank, mirror: Mirror) -> None:
    """The notification names the accounts, and a poll that changes nothing is silent."""
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    await mirror.owner.execute("LISTEN bankmirror_changed")
    bank.post("acct_b", -1)
    polled = await mirror.poll(desk)
    await mirror.poll(desk)

    heard = await mirror.heard()

    run_id = (await mirror.ask("SELECT max(run_id) FROM sync.runs WHERE txid IS NOT NULL"))[0][0]
    assert polled.applied.rows_changed == 1
    assert heard == [f'{{"accounts": ["acct_b"], "run_id": {run_id}}}']


async def test_ingest_can_not_rewrite_history(mirror: Mirror) -> None:
    """Revisions are only added to; the role itself forbids anything else."""
    for statement in (
        b"DELETE FROM snapshot.transaction_revisions",
        b"UPDATE snapshot.transaction_revisions SET ended_by = 'absent'",
    ):
        async with mirror.pool.connection() as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(statement)


async def test_nothing_is_polled_before_the_accounts_are_listed(bank: ModelBank, mirror: Mirror) -> None:
    """A first balance would find no account to belong to, and a newcomer's first answer would be `unknown`."""
    desk = await mirror.open(ModelReader(bank))

    async def due() -> set[str]:
        await mirror.owner.execute("UPDATE sync.targets SET due_at = now(), lease_until = '-infinity'")
        claims = await store.claim(mirror.pool, connection_id="default", holder="one", lease_seconds=30, targets_max=10)
        return {claim.feed for claim in claims}

    await mirror.owner.execute("UPDATE sync.targets SET synced_at = NULL")
    before = await due()
    await mirror.owner.execute("UPDATE sync.targets SET lease_until = '-infinity'")
    await mirror.poll(desk, "accounts")

    assert before == {"accounts"}
    assert await due() == {"accounts", "balances", "transactions"}
