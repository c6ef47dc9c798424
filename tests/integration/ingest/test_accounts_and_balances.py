"""Accounts and balances: what the bank says, when it said it, and never less than we knew."""

from datetime import timedelta

from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import NOW, ModelBank, ModelReader

BALANCE = "SELECT current_minor, available_minor, as_of FROM snapshot.balances WHERE account_id = 'acct_a'"
HISTORY = "SELECT current_minor FROM snapshot.balance_snapshots WHERE account_id = 'acct_a' ORDER BY known_from"


async def test_balances_are_stored_as_stated(bank: ModelBank, mirror: Mirror) -> None:
    """T45, T48: an available balance that the bank does not give stays unknown, and is not zero."""
    bank.set_balance("acct_a", 12_345)
    desk = await mirror.open(ModelReader(bank))

    polled = await mirror.poll(desk, "balances")

    assert polled.applied.rows_changed == 2
    assert await mirror.ask(BALANCE) == [(12_345, None, NOW)]


async def test_a_late_balance_never_overwrites_a_newer_one(bank: ModelBank, mirror: Mirror) -> None:
    """An answer from a lagging replica of the bank changes nothing, not even when we last confirmed it."""
    bank.set_balance("acct_a", 200, NOW)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")
    before = await mirror.ask("SELECT * FROM snapshot.balances WHERE account_id = 'acct_a'")
    bank.set_balance("acct_a", 100, NOW - timedelta(hours=1))

    await mirror.poll(desk, "balances")

    assert await mirror.ask("SELECT * FROM snapshot.balances WHERE account_id = 'acct_a'") == before
    assert await mirror.ask(HISTORY) == [(200,)]


async def test_history_grows_only_by_changes(bank: ModelBank, mirror: Mirror) -> None:
    """An unchanged balance moves last_seen_at; a changed one is another row; one that returns is a third."""
    desk = await mirror.open(ModelReader(bank))
    for minutes, current in enumerate((100, 100, 250, 100)):
        bank.set_balance("acct_a", current, NOW + timedelta(minutes=minutes))
        await mirror.poll(desk, "balances")

    assert await mirror.ask(HISTORY) == [(100,), (250,), (100,)]
    seen = await mirror.ask(
        "SELECT last_seen_at > known_from FROM snapshot.balance_snapshots"
        " WHERE account_id = 'acct_a' ORDER BY known_from"
    )
    assert seen == [(True,), (False,), (False,)]


async def test_a_balance_of_an_unknown_account_waits_for_the_account(bank: ModelBank, mirror: Mirror) -> None:
    """It is not stored without its account; the accounts are listed at once, and the next poll has it."""
    desk = await mirror.open(ModelReader(bank))
    bank.open_account("acct_new", current=7)

    await mirror.poll(desk, "balances")
    assert await mirror.target("due_at > clock_timestamp()", "accounts") is False
    await mirror.poll(desk, "accounts")
    await mirror.poll(desk, "balances")

    assert await mirror.ask("SELECT current_minor FROM snapshot.balances WHERE account_id = 'acct_new'") == [(7,)]


async def test_balances_account_by_account(bank: ModelBank, mirror: Mirror) -> None:
    """A bank without a bulk listing is asked for each account."""
    bank.set_balance("acct_a", 5)
    desk = await mirror.open(ModelReader(bank, bulk_balances=False))

    assert (await mirror.poll(desk, "balances", "acct_a")).applied.rows_changed == 1


async def test_accounts_change_and_close(bank: ModelBank, mirror: Mirror) -> None:
    """A closed account is closed, and one that is no longer listed stays."""
    desk = await mirror.open(ModelReader(bank))
    bank.accounts["acct_a"]["status"] = "closed"
    for number in range(10):
        bank.open_account(f"acct_{number}")
    assert (await mirror.poll(desk, "accounts")).applied.rows_changed == 11
    del bank.accounts["acct_b"]

    polled = await mirror.poll(desk, "accounts")

    assert (polled.outcome, polled.applied.rows_changed) == ("complete", 0)
    statuses = "SELECT status FROM snapshot.accounts WHERE account_id IN ('acct_a', 'acct_b') ORDER BY account_id"
    assert await mirror.ask(statuses) == [("closed",), ("open",)]


async def test_b10_no_accounts_at_all_is_doubted(bank: ModelBank, mirror: Mirror) -> None:
    """An empty list of accounts removes nothing and says partial."""
    desk = await mirror.open(ModelReader(bank))
    bank.accounts.clear()

    polled = await mirror.poll(desk, "accounts")

    assert polled.outcome == "partial"
    assert await mirror.ask("SELECT count(*) FROM snapshot.accounts") == [(2,)]
    assert await mirror.target("complete", "accounts") is False


async def test_as_of_is_the_banks_and_synced_at_is_ours(bank: ModelBank, mirror: Mirror) -> None:
    """T55: both times are recorded and never mixed; freshness lasts two missed polls."""
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")

    found = await mirror.target(
        "(bank_as_of, synced_at <= clock_timestamp() AND synced_at >= attempted_at - interval '1 s',"
        " fresh_until - synced_at BETWEEN interval '7200 s' AND interval '7220 s')",
        "balances",
    )
    assert found[1:] == ("t", "t")
    assert await mirror.target("bank_as_of", "balances") == NOW
