"""What ingest stores makes every verdict true: nothing counts as confirmed that the bank did not show."""

from datetime import timedelta

import pytest

from banks.ports import BankGone
from ingest.decide import Feed
from ingest.poll import Polled, poll
from tests.integration.ingest.conftest import Mirror, Rows
from tests.integration.ingest.model_bank import NOW, ModelBank, ModelReader

AGE = timedelta(days=3)


@pytest.fixture
def bank() -> ModelBank:
    """A bank with eight accounts, acct_0 to acct_7."""
    model = ModelBank(page_rows=100)
    for number in range(8):
        model.open_account(f"acct_{number}")
    return model


async def verdicts(mirror: Mirror, feed: Feed) -> dict[str, str]:
    """The verdict on a feed of each account."""
    found = await mirror.ask("SELECT account_id, verdict::text FROM read.feeds WHERE feed = %s", feed)
    assert len(found) == len(dict(found))
    return dict(found)


async def feed(mirror: Mirror, account_id: str, name: Feed) -> tuple[str, str | None]:
    """Verdict and reason of one feed of one account."""
    ((verdict, reason),) = await mirror.ask(
        "SELECT verdict::text, reason FROM read.feeds WHERE account_id = %s AND feed = %s", account_id, name
    )
    return verdict, reason


async def age_all(mirror: Mirror) -> None:
    """Three days go by in which nobody polls."""
    for table, columns in {
        "sync.targets": ("synced_at", "fresh_until", "due_at"),
        "snapshot.accounts": ("first_seen_at", "last_seen_at"),
        "snapshot.balances": ("synced_at",),
    }.items():
        moved = ", ".join(f"{column} = {column} - interval '3 days'" for column in columns)
        await mirror.owner.execute(f"UPDATE {table} SET {moved}".encode())


# ── balances ──


async def test_a_balance_that_is_left_out_ages(bank: ModelBank, mirror: Mirror) -> None:
    """The listing is complete, but its account's balance was confirmed three days ago, and says so."""
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")
    await age_all(mirror)
    del bank.balances["acct_0"]

    assert (await mirror.poll(desk, "balances")).outcome == "complete"

    found = await verdicts(mirror, "balances")
    assert found.pop("acct_0") == "stale"
    assert set(found.values()) == {"fresh"}
    assert await mirror.ask("SELECT now() - synced_at > interval '2 days' FROM read.feeds"
                            " WHERE account_id = 'acct_0' AND feed = 'balances'") == [(True,)]  # fmt: skip


async def test_a_balance_that_goes_back_in_time_ages(bank: ModelBank, mirror: Mirror) -> None:
    """It is not stored, and what is stored was not confirmed by it."""
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")
    await age_all(mirror)
    bank.set_balance("acct_0", 1, NOW - timedelta(hours=1))

    await mirror.poll(desk, "balances")

    assert (await feed(mirror, "acct_0", "balances"))[0] == "stale"
    assert (await feed(mirror, "acct_1", "balances"))[0] == "fresh"


async def test_an_account_without_a_balance_is_unknown(bank: ModelBank, mirror: Mirror) -> None:
    """Nobody may take it for zero."""
    del bank.balances["acct_0"]
    desk = await mirror.open(ModelReader(bank))

    await mirror.poll(desk, "balances")

    assert await feed(mirror, "acct_0", "balances") == ("unknown", "balances of acct_0: the bank states no balance")
    assert (await feed(mirror, "acct_1", "balances"))[0] == "fresh"


@pytest.mark.parametrize("missing", [8, 4])
async def test_many_missing_balances_are_doubted(bank: ModelBank, mirror: Mirror, missing: int) -> None:
    """For as long as what is missing would be fresh; then those that are listed are believed again."""
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")
    for number in range(missing):
        del bank.balances[f"acct_{number}"]

    for _ in range(3):
        assert (await mirror.poll(desk, "balances")).outcome == "partial"
    verdict, reason = await feed(mirror, "acct_7", "balances")
    assert verdict == "partial"
    assert reason is not None
    assert reason.endswith(f"(mass-disappearance: {missing} of 8 balances are not listed any more)")

    await age_all(mirror)
    assert (await mirror.poll(desk, "balances")).outcome == ("partial" if missing == 8 else "complete")
    assert [(await verdicts(mirror, "balances"))[account] for account in ("acct_0", "acct_7")] == [
        "stale",
        "stale" if missing == 8 else "fresh",
    ]


# ── accounts ──


async def test_an_account_that_is_left_out_is_stale(bank: ModelBank, mirror: Mirror) -> None:
    """At once, with the reason, while the others are fresh; listeners are told, and again when it is back."""
    desk = await mirror.open(ModelReader(bank))
    kept = bank.accounts.pop("acct_0")
    await mirror.owner.execute("LISTEN bankmirror_changed")

    async def heard(polled: Polled) -> str:
        assert polled.outcome == "complete"
        return "".join(await mirror.heard())

    assert '["acct_0"]' in await heard(await mirror.poll(desk, "accounts"))
    assert await feed(mirror, "acct_0", "accounts") == (
        "stale",
        "accounts of acct_0: the bank does not list it any more",
    )
    assert (await feed(mirror, "acct_1", "accounts"))[0] == "fresh"

    assert await heard(await mirror.poll(desk, "accounts")) == ""
    bank.accounts["acct_0"] = kept
    assert '["acct_0"]' in await heard(await mirror.poll(desk, "accounts"))
    assert set((await verdicts(mirror, "accounts")).values()) == {"fresh"}


async def test_many_missing_accounts_are_doubted(bank: ModelBank, mirror: Mirror) -> None:
    """Four of eight, poll after poll. Once they are stale by themselves, the others are believed again."""
    desk = await mirror.open(ModelReader(bank))
    for number in range(4):
        del bank.accounts[f"acct_{number}"]

    for _ in range(3):
        polled = await mirror.poll(desk, "accounts")
        assert (polled.outcome, polled.error) == (
            "partial",
            "mass-disappearance: 4 of 8 accounts are not listed any more",
        )
    assert set((await verdicts(mirror, "accounts")).values()) == {"partial"}

    await age_all(mirror)
    assert set((await verdicts(mirror, "accounts")).values()) == {"stale"}
    assert (await mirror.poll(desk, "accounts")).outcome == "complete"
    assert await verdicts(mirror, "accounts") == {
        f"acct_{number}": "stale" if number < 4 else "fresh" for number in range(8)
    }


async def test_closed_accounts_may_leave_the_listing(bank: ModelBank, mirror: Mirror) -> None:
    """The bank said that they are closed: that is its last word."""
    desk = await mirror.open(ModelReader(bank))
    for number in range(6):
        bank.accounts[f"acct_{number}"]["status"] = "closed"
    await mirror.poll(desk, "accounts")
    for number in range(6):
        del bank.accounts[f"acct_{number}"]

    assert (await mirror.poll(desk, "accounts")).outcome == "complete"
    assert set((await verdicts(mirror, "accounts")).values()) == {"fresh"}


# ── parked accounts ──


async def test_one_404_does_not_park_an_open_account_for_ever(bank: ModelBank, mirror: Mirror) -> None:
    """Overdue it is stale with the bank's word for it; listed as open it is polled again."""
    reader = ModelReader(bank, delta_feed=False)
    desk = await mirror.open(reader)
    await mirror.poll(desk, "transactions", "acct_0")
    assert (await feed(mirror, "acct_0", "transactions"))[0] == "fresh"

    def gone(page: int) -> None:
        raise BankGone("HTTP 404, not-found")

    reader.before_page = gone
    await mirror.poll(desk, "transactions", "acct_0")
    reader.before_page = lambda page: None
    await age_all(mirror)
    verdict, reason = await feed(mirror, "acct_0", "transactions")
    assert verdict == "stale"
    assert reason is not None
    assert reason.endswith("(bank-account-gone: HTTP 404, not-found)")

    await mirror.poll(desk, "accounts")
    await mirror.poll(desk, "transactions", "acct_0")
    assert await feed(mirror, "acct_0", "transactions") == ("fresh", None)


async def test_a_closed_account_stays_parked(bank: ModelBank, mirror: Mirror) -> None:
    """Its feed is not asked again, and stays as fresh as it was."""
    reader = ModelReader(bank, delta_feed=False)
    desk = await mirror.open(reader)
    await mirror.poll(desk, "transactions", "acct_0")

    def gone(page: int) -> None:
        raise BankGone("HTTP 410")

    reader.before_page = gone
    await mirror.poll(desk, "transactions", "acct_0")
    bank.accounts["acct_0"]["status"] = "closed"
    await mirror.poll(desk, "accounts")
    await age_all(mirror)

    assert await mirror.target("parked_reason", account_id="acct_0") == "bank-account-gone: HTTP 410"
    assert (await feed(mirror, "acct_0", "transactions"))[0] == "fresh"


# ── the other way of reading ──

TRANSACTIONS = "SELECT account_id, verdict::text FROM read.feeds WHERE feed = 'transactions' ORDER BY 1"


async def test_each_feed_is_there_once_after_a_change_of_the_way(bank: ModelBank, mirror: Mirror) -> None:
    """From the delta feed to listings and back: one verdict for each account, by what is polled now."""
    by_changes = await mirror.open(ModelReader(bank))
    await mirror.poll(by_changes)

    def everywhere(verdict: str) -> Rows:
        return [(f"acct_{number}", verdict) for number in range(8)]

    assert await mirror.ask(TRANSACTIONS) == everywhere("fresh")
    by_listing = await mirror.open(ModelReader(bank), read_mode="listing")
    assert await mirror.ask(TRANSACTIONS) == everywhere("unknown")
    for number in range(8):
        await mirror.poll(by_listing, "transactions", f"acct_{number}")
    assert await mirror.ask(TRANSACTIONS) == everywhere("fresh")
    await age_all(mirror)
    by_changes = await mirror.open(ModelReader(bank))
    assert await mirror.ask(TRANSACTIONS) == everywhere("stale")
    await mirror.poll(by_changes)
    assert await mirror.ask(TRANSACTIONS) == everywhere("fresh")


async def test_a_gone_account_does_not_come_twice_after_a_change_of_the_way(bank: ModelBank, mirror: Mirror) -> None:
    """Parked by the bank and put aside by us are two things."""
    reader = ModelReader(bank)
    by_listing = await mirror.open(reader, read_mode="listing")

    def gone(page: int) -> None:
        raise BankGone("HTTP 404")

    reader.before_page = gone
    await mirror.poll(by_listing, "transactions", "acct_0")
    reader.before_page = lambda page: None
    by_changes = await mirror.open(reader)
    await mirror.poll(by_changes)

    assert await mirror.ask(TRANSACTIONS) == [(f"acct_{number}", "fresh") for number in range(8)]


async def test_a_poll_of_the_other_way_is_fenced(bank: ModelBank, mirror: Mirror) -> None:
    """One that is under way when the way changes stores nothing; nor do its accounts bring its way back."""
    bank.post("acct_0", -1)
    by_changes = await mirror.open(ModelReader(bank))
    rows, accounts = await mirror.claim(by_changes), await mirror.claim(by_changes, "accounts")
    await mirror.owner.execute("UPDATE sync.targets SET lease_until = '-infinity' WHERE feed = 'accounts'")
    await mirror.open(ModelReader(bank), read_mode="listing")

    assert (await poll(by_changes, rows)).outcome == "fenced"
    assert (await poll(by_changes, accounts)).outcome == "fenced"
    assert await mirror.rows() == set()


async def test_a_process_of_the_other_way_makes_no_target_that_is_used(bank: ModelBank, mirror: Mirror) -> None:
    """While the old process drains it may list the accounts once more, with a new one among them."""
    by_listing = await mirror.open(ModelReader(bank), read_mode="listing")
    by_changes = await mirror.open(ModelReader(bank))
    await mirror.poll(by_changes)
    bank.open_account("acct_8")

    await mirror.poll(by_listing, "accounts")

    assert await mirror.ask(TRANSACTIONS) == [(f"acct_{number}", "fresh") for number in range(9)]
