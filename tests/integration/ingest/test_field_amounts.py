"""Amounts, balances and what is said about them, which other systems got wrong in the field."""

from datetime import timedelta
from typing import Any

import pytest

from banks.ports import BankUnreachable
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import NOW, ModelBank, ModelReader
from tests.integration.readapi.mirror import asking


async def told(mirror: Mirror, feed: str, account_id: str = "acct_a") -> tuple[str, str | None]:
    """The verdict that readers get, with its reason."""
    ((verdict, reason),) = await mirror.ask(
        "SELECT verdict::text, reason FROM read.freshness(ARRAY[%s], ARRAY[%s])", feed, account_id
    )
    return verdict, reason


async def test_t28_of_two_changes_in_one_second_the_later_stays(bank: ModelBank, mirror: Mirror) -> None:
    """The order of the feed decides and no timestamp: both changes have the same one."""
    txn = bank.post("acct_a", -1)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    for amount in (-3, -2):
        bank.change("acct_a", txn, amount_cents=amount)
        await mirror.poll(desk)

    assert await mirror.rows() == bank.good_rows()
    assert await mirror.history(txn) == [("changed", -1), ("changed", -3)]
    moments = await mirror.ask("SELECT DISTINCT created_at FROM snapshot.transaction_revisions")
    assert len(moments) == 1


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (1250, "JPY", "1250"),
        (1250, "KRW", "1250"),
        (1250, "USD", "12.50"),
        (1250, "KWD", "1.250"),
        (1, "CLF", "0.0001"),
    ],
)
async def test_t41_minor_units_are_shown_with_the_currencys_decimals(
    amount: int, currency: str, shown: str, bank: ModelBank, mirror: Mirror, database_url: str
) -> None:
    """From the bank's wire to our answer nothing is multiplied by a hundred."""
    bank.open_account("acct_c", currency, current=-amount)
    bank.post("acct_c", -amount)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    await mirror.poll(desk, "balances")

    async with asking(database_url) as client:
        (row,) = (await client.get("/banking/accounts/acct_c/transactions")).json()["data"]
        balances = (await client.get("/banking/balances")).json()["data"]

    assert (row["amount_minor"], row["amount"], row["currency"]) == (-amount, f"-{shown}", currency)
    [balance] = [balance for balance in balances if balance["account_id"] == "acct_c"]
    assert (balance["current_minor"], balance["current"]) == (-amount, f"-{shown}")


AMOUNTS: list[Any] = [12.5, -9.95, 1250.0, "1250", "12.50", None, True, 10**15]


@pytest.mark.parametrize("amount", AMOUNTS, ids=repr)
async def test_t43_every_feed_takes_the_same_kind_of_amount(amount: Any, bank: ModelBank, mirror: Mirror) -> None:
    """A float or a text is an amount in no feed, though some banks mix them: kept apart, and said so."""
    txn = bank.post("acct_a", -1)
    bank.change("acct_a", txn, amount_cents=amount)
    bank.balances["acct_a"]["current_cents"] = amount
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)
    await mirror.poll(desk, "balances")

    assert await mirror.rows() == set()
    assert await mirror.ask("SELECT FROM snapshot.balances WHERE account_id = 'acct_a'") == []
    kept = await mirror.ask("SELECT feed FROM sync.quarantine WHERE account_id = 'acct_a' ORDER BY feed")
    assert kept == [("balances",), ("transactions",)]
    assert (await told(mirror, "transactions"))[0] == "partial"
    assert (await told(mirror, "balances"))[0] == "unknown"


@pytest.mark.parametrize("currency", ["XXX", "BTC", "usd", "", None])
async def test_t44_an_unknown_currency_is_neither_skipped_nor_dollars(
    currency: str | None, bank: ModelBank, mirror: Mirror
) -> None:
    """The row waits in quarantine, its account is partial and says why, and the other account is not affected."""
    txn = bank.post("acct_a", -1)
    bank.change("acct_a", txn, currency=currency)
    bank.post("acct_b", -2)
    await mirror.poll(await mirror.open(ModelReader(bank)))

    assert await mirror.ask("SELECT account_id FROM snapshot.transactions") == [("acct_b",)]
    ((reason, raw),) = await mirror.ask("SELECT reason, raw FROM sync.quarantine")
    assert "currency" in reason
    assert txn.encode() in bytes(raw), "as it came, to be read again"
    verdict, why = await told(mirror, "transactions")
    assert (verdict, bool(why)) == ("partial", True)
    assert (await told(mirror, "transactions", "acct_b"))[0] == "fresh"


async def test_t45_t48_what_a_bank_does_not_say_of_a_balance_stays_unsaid(
    bank: ModelBank, mirror: Mirror, database_url: str
) -> None:
    """No available balance is null and not zero; zero is zero; no balance at all is unknown and not zero."""
    bank.open_account("acct_none")
    del bank.balances["acct_none"]
    bank.open_account("acct_zero")
    bank.balances["acct_zero"]["available_cents"] = 0
    bank.set_balance("acct_a", -12_345)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")

    async with asking(database_url) as client:
        answer = (await client.get("/banking/accounts")).json()

    shown = {account["account_id"]: account["balance"] for account in answer["data"]}
    assert shown["acct_none"] is None
    assert (await told(mirror, "balances", "acct_none"))[0] == "unknown"
    stated = [(shown[name]["current_minor"], shown[name]["available_minor"]) for name in ("acct_a", "acct_zero")]
    assert stated == [(-12_345, None), (0, 0)]


async def test_t46_t47_a_balance_is_the_banks_with_the_banks_time(
    bank: ModelBank, mirror: Mirror, database_url: str
) -> None:
    """It is of another instant than the transactions, so neither is made from the other: what is pending, or booked
    since, moves no balance of ours, and each says of when it is.
    """
    an_hour_ago = NOW - timedelta(hours=1)
    bank.set_balance("acct_a", 10_000, as_of=an_hour_ago)
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk, "balances")
    bank.post("acct_a", -2_500)
    bank.hold("acct_a", -700)
    await mirror.poll(desk)

    async with asking(database_url) as client:
        shown = {row["account_id"]: row for row in (await client.get("/banking/balances")).json()["data"]}
    assert (shown["acct_a"]["current_minor"], shown["acct_a"]["as_of"]) == (10_000, an_hour_ago.isoformat())
    booked = await mirror.ask("SELECT sum(in_minor + out_minor) FROM snapshot.daily_totals WHERE account_id = 'acct_a'")
    assert booked == [(-2_500,)], "what is pending is in no total"


async def test_t54_t55_an_unknown_error_is_not_healthy_and_both_times_are_kept(bank: ModelBank, mirror: Mirror) -> None:
    """Attempt and success are two times; an error of no known kind is told, and ages the answers like any other."""
    reader = ModelReader(bank)
    desk = await mirror.open(reader)
    await mirror.poll(desk)
    attempted, synced = await mirror.target("attempted_at"), await mirror.target("synced_at")
    assert attempted is not None
    assert synced >= attempted

    def fail(page: int) -> None:
        raise ZeroDivisionError("nobody thought of this")

    reader.before_page = fail
    for _ in range(2):
        await mirror.poll(desk)

    assert await mirror.target("synced_at") == synced, "not confirmed since"
    assert await mirror.target("attempted_at") > attempted
    assert await mirror.target("(failures, last_error)") == ("2", "internal: ZeroDivisionError")
    await mirror.owner.execute("UPDATE sync.targets SET fresh_until = now() - interval '1 s'")
    verdict, reason = await told(mirror, "transactions")
    assert verdict == "stale"
    assert "ZeroDivisionError" in str(reason)

    def refuse(page: int) -> None:
        raise BankUnreachable("connection refused")

    reader.before_page = refuse
    await mirror.poll(desk)
    assert await mirror.target("last_error") == "bank-unreachable: connection refused", "never none without a success"
    reader.before_page = lambda page: None
    await mirror.poll(desk)
    assert await mirror.target("(failures, last_error)") == ("0", None)
    assert (await told(mirror, "transactions"))[0] == "fresh"
