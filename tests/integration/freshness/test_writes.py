"""Whatever is written, by whomever: an answer that was kept before is not given any more where the truth is another.

What an answer says is compared by its ETag, which is made of the data and the verdict on it: once as it would be given,
from memory where it is kept, and once as the database tells it now.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from banks.ports import BankGone
from ingest import identity, quarantine, rulings, store
from ingest.poll import Desk
from ingest.rulings import Ruling
from ingest.sweep import sweep
from tests.integration.freshness.kept import ASK_ANEW, Kept, questions
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import TODAY, ModelBank, ModelReader

OLD = TODAY - timedelta(days=400)


class Scene:
    """A bank that is listed account by account, its mirror, and everything that can be written there."""

    def __init__(self, bank: ModelBank, mirror: Mirror, desk: Desk) -> None:
        self.bank = bank
        self.mirror = mirror
        self.desk = desk

    async def read(self, account_id: str = "acct_a") -> None:
        """One poll of an account's transactions."""
        await self.mirror.poll(self.desk, "transactions", account_id)

    async def sql(self, statement: str) -> None:
        """What somebody types in psql."""
        await self.mirror.owner.execute(statement.encode())

    # ── polls

    async def poll_with_new_rows(self) -> None:
        self.bank.post("acct_a", -1)
        await self.read()

    async def poll_that_settles(self) -> None:
        self.bank.settle("acct_a", "hold", -77)
        await self.read()

    async def poll_with_a_correction(self) -> None:
        self.bank.change("acct_a", "txn_000001", amount_cents=-99)
        await self.read()

    async def balance_that_moved(self) -> None:
        self.bank.set_balance("acct_a", 4_711)
        await self.mirror.poll(self.desk, "balances")

    async def account_with_another_name(self) -> None:
        self.bank.accounts["acct_a"]["name"] = "Payroll"
        await self.mirror.poll(self.desk, "accounts")

    async def new_account(self) -> None:
        self.bank.open_account("acct_c")
        await self.mirror.poll(self.desk, "accounts")

    async def account_that_is_left_out(self) -> None:
        self.left_out = self.bank.accounts.pop("acct_c")
        await self.mirror.poll(self.desk, "accounts")

    async def account_that_is_back(self) -> None:
        self.bank.accounts["acct_c"] = self.left_out
        await self.mirror.poll(self.desk, "accounts")

    async def sweep_that_removes(self) -> None:
        self.bank.rows.pop(("acct_a", "old"))
        for _ in range(2):
            await self.sql("UPDATE sync.sweeps SET due_at = now() WHERE run_id IS NULL")
            claim = await self.mirror.claim(self.desk, "transactions", "acct_a")
            await store.release(self.mirror.pool, claim, "only borrowed", pauses=False)
            await sweep(self.desk, claim)
            await self.mirror.pass_interval()
        assert ("absent", -1) in await self.mirror.history("old")

    # ── doubt, and its end

    async def refused_row(self) -> None:
        self.bank.post("acct_a", -1, type=7, transaction_id="bad")
        await self.read()

    async def doubt_that_somebody_ends(self) -> None:
        ((quarantine_id,),) = await self.mirror.ask("SELECT quarantine_id FROM sync.quarantine")
        assert await quarantine.resolve(self.mirror.pool, quarantine_id, by="ann", why="asked the bank")

    async def refused_row_of_nobody(self) -> None:
        await self.sql(
            "INSERT INTO sync.quarantine (connection_id, account_id, feed, reason, raw, raw_sha256, run_id)"
            " VALUES ('default', '', 'transactions', 'float', 'x', 'x', 1)"
        )

    async def refused_row_that_came_well(self) -> None:
        await self.sql("UPDATE sync.quarantine SET resolved_at = now(), resolution = 'came well' WHERE account_id = ''")

    async def breaker_that_opens(self) -> None:
        await self.sql(
            "INSERT INTO sync.breakers (connection_id, account_id, feed, run_id, absent, held, sample)"
            " VALUES ('default', 'acct_a', 'transactions', 1, 8, 10, '{}')"
        )

    async def breaker_that_holds_more(self) -> None:
        await self.sql("UPDATE sync.breakers SET absent = 9")

    async def breaker_that_closes(self) -> None:
        await self.sql("UPDATE sync.breakers SET closed_at = now(), closed_because = 'shown again'")

    async def ids_that_are_positions(self) -> None:
        claim = await self.mirror.claim(self.desk, "transactions", "acct_a")
        await identity.flag_positions(self.mirror.pool, claim, identity.PositionalIds(20, 30, ["txn_1"]))
        await store.release(self.mirror.pool, claim, "only borrowed", pauses=False)

    async def ids_that_are_none_any_more(self) -> None:
        await self.sql("UPDATE sync.positional_ids SET closed_at = now()")

    async def days_that_were_never_read(self) -> None:
        await self.sql("UPDATE sync.coverage SET covered = covered - '{[2010-01-01,2010-02-01)}'::datemultirange")

    async def days_that_are_read(self) -> None:
        await self.sql("UPDATE sync.coverage SET covered = covered + '{[2010-01-01,2010-02-01)}'::datemultirange")

    # ── identity

    async def row_that_may_be_there_twice(self) -> None:
        self.bank.put_row({**self.bank.rows.pop(("acct_a", "twin")), "transaction_id": "new_twin"})
        await self.read()
        assert await self.mirror.ask("SELECT FROM sync.doubled_entries")

    async def person_who_says_that_it_is_not(self) -> None:
        for link in await rulings.list_links(self.mirror.pool, ["suggested"]):
            await rulings.rule(self.mirror.pool, link.link_id, Ruling.REJECT, "ann", "two coffees")

    async def account_under_another_id(self) -> None:
        await self.sql(
            "INSERT INTO sync.account_links (account_id, listed_id, connection_id, name, type, currency, run_id)"
            " VALUES ('acct_a', 'acct_new', 'default', 'Payroll', 'checking', 'USD', 1)"
        )

    async def person_who_says_that_it_is_another(self) -> None:
        (link,) = await rulings.list_links(self.mirror.pool, ["suggested"])
        await rulings.rule(self.mirror.pool, link.link_id, Ruling.REJECT, "ann", "a second card")

    async def reading_from_the_start(self) -> None:
        await self.read()

    # ── targets

    async def cursor_that_the_bank_forgot(self) -> None:
        claim = await self.mirror.claim(self.desk, "transactions", "acct_a")
        await store.restart_pass(self.mirror.pool, claim)
        await store.release(self.mirror.pool, claim, "only borrowed", pauses=False)

    async def poll_that_fails(self) -> None:
        claim = await self.mirror.claim(self.desk, "transactions", "acct_a")
        delay = timedelta(seconds=0)
        await store.fail(self.mirror.pool, claim, BankGone("gone"), delay, outcome="failed", void=False)

    async def feed_that_is_asked_again(self) -> None:
        await self.sql("UPDATE sync.targets SET parked_reason = NULL")
        await self.read()

    async def more_that_is_expected(self) -> None:
        await self.sql("UPDATE sync.targets SET fresh_until = now() - interval '1 minute' WHERE account_id = 'acct_a'")

    async def feed_that_is_confirmed(self) -> None:
        await self.read()

    # ── views, transfers

    async def refreshed_view(self) -> None:
        assert await store.refresh_views(self.mirror.pool)

    async def transfer_that_is_asked_for(self) -> None:
        await self.sql(
            "INSERT INTO transfer.transfers (transfer_id, principal, fingerprint, source_account_id,"
            " destination_account_id, amount_minor, currency, state, request_bytes, request_sha256, bank_id, bank_key)"
            " VALUES (gen_random_uuid(), 'test', '', 'acct_a', 'acct_b', 100, 'USD', 'ready', '', '', '-', 'key')"
        )

    async def transfer_that_is_sent(self) -> None:
        await self.sql("UPDATE transfer.transfers SET state = 'submitting', attempts = 1, first_sent_at = now()")

    async def transfer_that_is_accepted(self) -> None:
        await self.sql("UPDATE transfer.transfers SET state = 'accepted', bank_transaction_id = 'bank_1'")


# In this order: some undo what another did.
WRITES: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    Scene.poll_with_new_rows,
    Scene.refreshed_view,
    Scene.poll_that_settles,
    Scene.poll_with_a_correction,
    Scene.balance_that_moved,
    Scene.account_with_another_name,
    Scene.new_account,
    Scene.account_that_is_left_out,
    Scene.account_that_is_back,
    Scene.sweep_that_removes,
    Scene.refused_row,
    Scene.doubt_that_somebody_ends,
    Scene.refused_row_of_nobody,
    Scene.refused_row_that_came_well,
    Scene.breaker_that_opens,
    Scene.breaker_that_holds_more,
    Scene.breaker_that_closes,
    Scene.ids_that_are_positions,
    Scene.ids_that_are_none_any_more,
    Scene.days_that_were_never_read,
    Scene.days_that_are_read,
    Scene.row_that_may_be_there_twice,
    Scene.person_who_says_that_it_is_not,
    Scene.account_under_another_id,
    Scene.person_who_says_that_it_is_another,
    Scene.reading_from_the_start,
    Scene.cursor_that_the_bank_forgot,
    Scene.poll_that_fails,
    Scene.feed_that_is_asked_again,
    Scene.more_that_is_expected,
    Scene.feed_that_is_confirmed,
    Scene.transfer_that_is_asked_for,
    Scene.transfer_that_is_sent,
    Scene.transfer_that_is_accepted,
)


@pytest.fixture
async def scene(bank: ModelBank, mirror: Mirror) -> Scene:
    """Everything read, and twice where that is needed for the first sweep to be planned."""
    bank.post("acct_a", -10)
    bank.hold("acct_a", -70, transaction_id="hold")
    bank.post("acct_a", -450, transaction_id="twin", day=TODAY - timedelta(days=2))
    bank.post("acct_a", -1, day=OLD, transaction_id="old")
    desk = await mirror.open(ModelReader(bank, delta_feed=False))
    scene = Scene(bank, mirror, desk)
    await mirror.poll(desk, "balances")
    for account_id in ("acct_b", "acct_a"):
        await scene.read(account_id)
    claim = await mirror.claim(desk, "transactions", "acct_a")
    await store.release(mirror.pool, claim, "only borrowed", pauses=False)
    await sweep(desk, claim)
    await store.refresh_views(mirror.pool)
    return scene


async def paths(kept: Kept) -> list[str]:
    """Every question about an account and about all, and one about another account."""
    asked = set(questions(await kept.document(), "acct_a", "txn_000001"))
    return sorted({*asked, "/banking/accounts/acct_b/transactions", "/banking/cash-flow?account_id=acct_b"})


async def answered(kept: Kept, asked: list[str], **headers: str) -> dict[str, str]:
    """What is said to each question."""
    return {path: (await kept.client.get(path, headers=headers)).headers.get("etag", "none") for path in asked}


async def test_no_kept_answer_outlives_the_truth(scene: Scene, kept: Kept) -> None:
    """Each kind of write, one after the other: it changes answers, and no old one of these is given afterwards."""
    asked = await paths(kept)
    assert len(asked) >= 12
    silent, wrong = [], {}
    before = await answered(kept, asked)
    for write in WRITES:
        await write(scene)
        await kept.has_heard()
        # What is kept now is what the next write must end.
        given, told = await answered(kept, asked), await answered(kept, asked, **ASK_ANEW)
        if found := [path for path in asked if given[path] != told[path]]:
            wrong[write.__name__] = found
        if told == before:
            silent.append(write.__name__)
        before = told

    assert wrong == {}
    assert silent == [], "each of these was to change some answer"
    assert kept.edge.hot.hits > 0


async def test_it_is_the_news_that_ends_them(scene: Scene, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: deaf to them, the read API gives its old answers again."""
    asked = [path for path in await paths(kept) if "acct_a" in path]
    before = await answered(kept, asked)
    monkeypatch.setattr(kept.news, "_subscribers", [])
    await scene.poll_with_new_rows()
    await kept.has_heard()

    assert await answered(kept, asked) == before
    assert await answered(kept, asked, **ASK_ANEW) != before


async def test_news_of_one_account_leaves_the_answers_of_others(scene: Scene, kept: Kept) -> None:
    """Rows, doubt and a transfer of one account are heard as that; the other one's answers stay in memory."""
    other = "/banking/accounts/acct_b/transactions"
    await kept.client.get(other)
    for write in (Scene.poll_with_new_rows, Scene.refused_row, Scene.transfer_that_is_asked_for):
        await write(scene)
    await kept.has_heard()
    hits = kept.edge.hot.hits

    await kept.client.get(other)

    assert kept.edge.hot.hits == hits + 1
