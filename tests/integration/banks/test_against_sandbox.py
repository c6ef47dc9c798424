"""The generic adapter against the sandbox as it is: its own process, its own database, real HTTP."""

import contextlib
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql

from banks import generic_clean
from banks.ports import (
    BankRefusedCredentials,
    ChangePage,
    CursorExpired,
    FetchedTransaction,
    MutatedDuringPagination,
    Page,
    Payment,
    Verdict,
    Window,
)
from banks.registry import open_payer, open_reader
from banks.settings import BankSettings
from tests.waiting import PATIENCE, free_port

ACCOUNTS, TRANSACTIONS = 6, 1_200
ALWAYS = Window(date(1970, 1, 1), date(2200, 1, 1))


@pytest.fixture(scope="module")
def sandbox_database(server_url: str) -> Iterator[str]:
    """An empty database for the bank."""
    name = sql.Identifier(f"sandbox_{secrets.token_hex(6)}")
    with psycopg.connect(server_url, autocommit=True) as administrator:
        administrator.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            yield urlsplit(server_url)._replace(path=f"/{name.as_string().strip(chr(34))}").geturl()
        finally:
            administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture(scope="module")
def settings(sandbox_database: str) -> Iterator[BankSettings]:
    """Our settings for a sandbox that runs and in which nothing happens by itself."""
    port = free_port()
    bank = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--no-life", "--database-url", sandbox_database,
         "--port", str(port), "--accounts", str(ACCOUNTS),
         "--transactions", str(TRANSACTIONS), "--rate-limit-per-second", "0"],
    )  # fmt: skip
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health")
        yield make_settings(f"http://127.0.0.1:{port}", "sandbox-key")
    finally:
        bank.terminate()
        bank.wait(timeout=PATIENCE)


def _wait_until_healthy(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url, trust_env=False).raise_for_status()
            return
        time.sleep(0.1)
    pytest.fail("the sandbox does not start")


def make_settings(url: str, key: str) -> BankSettings:
    """Our settings for a bank."""
    return BankSettings.model_validate(
        {"DATABASE_URL": "postgresql://nowhere", "BANK_API_BASE_URL": url, "BANK_API_KEY": key}
    )


async def collect(pages: AsyncIterator[Page[Any]]) -> list[Any]:
    """All rows, and none refused."""
    rows: list[Any] = []
    async for page in pages:
        assert page.refused == []
        assert page.as_of is not None
        rows += page.rows
    return rows


async def replay(pages: AsyncIterator[ChangePage]) -> tuple[dict[str, FetchedTransaction], str]:
    """What the feed says that there is, and where it ends."""
    rows: dict[str, FetchedTransaction] = {}
    cursor = ""
    async for page in pages:
        assert page.refused == []
        rows |= {row.transaction_id: row for row in page.upserts}
        for gone in page.removed:
            rows.pop(gone.transaction_id, None)
        cursor = page.cursor
    return rows, cursor


async def admin(settings: BankSettings, path: str, body: dict[str, object] | None = None) -> None:
    """Change how the sandbox behaves."""
    headers = {"Authorization": "Bearer sandbox-key"}
    async with httpx.AsyncClient(base_url=settings.bank_api_base_url, headers=headers) as client:
        (await client.post(f"/_admin/{path}", json=body)).raise_for_status()


async def test_both_ways_to_read_agree(settings: BankSettings) -> None:
    """Feed and windows hold the same rows, both ways to ask give the same balances, and all adds up."""
    async with open_reader(settings) as reader:
        accounts = await collect(reader.accounts())
        balances = {row.account_id: row for row in await collect(reader.balances(None))}
        single = [row for each in accounts for row in await collect(reader.balances(each.account_id))]
        feed, _ = await replay(reader.changes(None))
        listed = [row for each in accounts
                  for row in await collect(reader.transactions(each.account_id, ALWAYS, None))]  # fmt: skip

    assert len(accounts) == ACCOUNTS
    assert {each.account_id for each in accounts} >= {"acct_123", "acct_456"}
    assert {row.account_id: row._replace(as_of=balances[row.account_id].as_of) for row in single} == balances
    assert len(listed) == len(feed) >= TRANSACTIONS
    assert {row.transaction_id: row for row in listed} == feed
    for account_id, balance in balances.items():
        posted = [row for row in listed if row.account_id == account_id and row.status == "posted"]
        assert sum(row.amount_minor for row in posted) == balance.current_minor
        assert {row.currency for row in posted} == {balance.currency}


async def test_the_contracts_pages_are_read_the_short_way(settings: BankSettings) -> None:
    """A bank that keeps to the contract is not read the careful, slow way: on either kind of page there is no doubt."""
    headers = {"Authorization": "Bearer sandbox-key"}
    async with httpx.AsyncClient(base_url=settings.bank_api_base_url, headers=headers) as client:
        changes = (await client.get("/transactions/changes", params={"limit": "500"})).content
        listing = (await client.get("/transactions", params={"account_id": "acct_123", "limit": "500"})).content

    assert generic_clean.read_changes(changes) is not None
    assert generic_clean.read_listing(listing) is not None


async def test_t39_t40_a_payment_and_its_traces(settings: BankSettings) -> None:
    """Made once however often it is sent, found by its reference, and seen in the feed on both accounts."""
    payment = Payment("acct_123", "acct_456", 2500, "USD", f"tr_{secrets.token_hex(8)}")
    async with open_payer(settings) as payer, open_reader(settings) as reader:
        _, cursor = await replay(reader.changes(None))
        before = await payer.look_up(payment)
        paid = await payer.pay(payment, payer.encode(payment))
        again = await payer.pay(payment, payer.encode(payment))
        found = await payer.look_up(payment)
        other = replace(payment, amount_minor=2600)
        reused, differing = await payer.pay(other, payer.encode(other)), await payer.look_up(other)
        changed, _ = await replay(reader.changes(cursor))

    assert before.verdict is Verdict.ABSENT
    assert (paid.verdict, again.verdict, found.verdict) == (Verdict.ACCEPTED,) * 3
    assert (paid.http_status, again.http_status) == (201, 200)
    assert paid.bank_transaction_id == again.bank_transaction_id == found.bank_transaction_id
    assert (reused.verdict, differing.verdict) == (Verdict.CONFLICT, Verdict.CONFLICT)
    assert {row.account_id: row.amount_minor for row in changed.values()} == {
        "acct_123": -2500,
        "acct_456": 2500,
    }
    assert paid.bank_transaction_id is not None
    assert changed[paid.bank_transaction_id].client_reference == payment.bank_key


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"destination_account_id": "acct_123"}, "same-account"),
        ({"destination_account_id": "nowhere"}, "account-not-found"),
        ({"amount_minor": 10**14}, "insufficient-funds"),
        ({"amount_minor": -1}, "amount-invalid"),
        ({"currency": "EUR"}, "currency-mismatch"),
    ],
)
async def test_declines_are_documented(settings: BankSettings, change: dict[str, Any], code: str) -> None:
    """What the bank declines, we take for declined, under its name; and it is not there."""
    payment = Payment("acct_123", "acct_456", 2500, "USD", f"tr_{secrets.token_hex(8)}")
    payment = replace(payment, **change)

    async with open_payer(settings) as payer:
        outcome = await payer.pay(payment, payer.encode(payment))
        looked_up = await payer.look_up(payment)

    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, code)
    assert looked_up.verdict is Verdict.ABSENT


async def test_a_wrong_key(settings: BankSettings) -> None:
    """Neither reads nor pays, and says why."""
    wrong = make_settings(settings.bank_api_base_url, "wrong")
    payment = Payment("acct_123", "acct_456", 2500, "USD", "tr_x")
    async with open_reader(wrong) as reader, open_payer(wrong) as payer:
        with pytest.raises(BankRefusedCredentials):
            await collect(reader.accounts())
        assert (await payer.pay(payment, payer.encode(payment))).verdict is Verdict.REFUSED_CREDENTIALS
        assert (await payer.look_up(payment)).verdict is Verdict.UNKNOWN


async def test_the_feed_is_reset_or_moves(settings: BankSettings) -> None:
    """An expired cursor and a moved log are told from each other, and from a bank that is down."""
    payment = Payment("acct_123", "acct_456", 1, "USD", f"tr_{secrets.token_hex(8)}")
    async with open_reader(settings) as reader, open_payer(settings) as payer:
        _, cursor = await replay(reader.changes(None))
        await admin(settings, "reset-feed")
        with pytest.raises(CursorExpired):
            await replay(reader.changes(cursor))
        with pytest.raises(CursorExpired):
            await replay(reader.changes("not-a-cursor"))

        await admin(settings, "settings", {"strict_pagination": True})
        pages = reader.changes(None)
        assert (await anext(pages)).has_more
        assert (await payer.pay(payment, payer.encode(payment))).verdict is Verdict.ACCEPTED
        with pytest.raises(MutatedDuringPagination):
            await anext(pages)
        await admin(settings, "settings", {"strict_pagination": False})
