"""A bank that lives, a real ingest process, and equality row for row."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql

from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.test_process import SERVE
from tests.integration.readapi.mirror import asking
from tests.waiting import PATIENCE, free_port, until

BANKS_ROWS = """
    SELECT account_id, transaction_id, amount_cents, currency, status, type, description, counterparty_name,
           counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on
      FROM bank.transactions"""
OUR_ROWS = """
    SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
           counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on
      FROM snapshot.transactions"""


@pytest.fixture
def bank_url(server_url: str) -> Iterator[str]:
    """An empty database for the bank."""
    name = f"sandbox_{secrets.token_hex(6)}"
    with psycopg.connect(server_url, autocommit=True) as administrator:
        administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
        administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@asynccontextmanager
async def process(*command: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process, ended with the context."""
    running = await asyncio.create_subprocess_exec(sys.executable, *command, env={**os.environ, **environment})
    try:
        yield running
    finally:
        running.terminate()
        try:
            async with asyncio.timeout(PATIENCE):
                await running.wait()
        except TimeoutError:
            running.kill()
            await running.wait()


@asynccontextmanager
async def sandbox(bank_url: str, *flags: str) -> AsyncIterator[str]:
    """The sandbox bank on a free port; its address once it answers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = ("--database-url", bank_url, "--port", str(port), "--rate-limit-per-second", "0")
    async with process("-m", "sandbox", *settings, *flags), httpx.AsyncClient(trust_env=False) as client:

        async def answers() -> bool:
            try:
                return (await client.get(f"{url}/accounts")).status_code in (200, 401)
            except httpx.TransportError:
                return False

        await until(answers)
        yield url


@pytest.mark.seconds(170)
@pytest.mark.parametrize("read_mode", ["auto", "listing"])
async def test_the_mirror_is_the_living_bank(read_mode: str, bank_url: str, database_url: str, mirror: Mirror) -> None:
    """Days of bank life pass during backfill and polls; when it rests, the mirror equals it, and balances."""
    ingest = {
        "DATABASE_URL": database_url,
        # It is met at two addresses.
        "BANKMIRROR_BANK_ID": "sandbox",
        "BANK_API_KEY": "sandbox-key",
        "BANKMIRROR_POLL_SECONDS": "0.5",
        "BANKMIRROR_READ_MODE": read_mode,
        "BANKMIRROR_BACKFILL_CHUNK_ROWS": "700",
        # This bank corrects and books weeks back, and a listing is read again only so far: by chance, a row would wait
        # for the next look at everything.
        "BANKMIRROR_OVERLAP_DAYS": "90",
    }

    async def rows(of: psycopg.AsyncConnection[Any], query: str) -> set[tuple[Any, ...]]:
        return set(await (await of.execute(query.encode())).fetchall())

    async with await psycopg.AsyncConnection.connect(bank_url, autocommit=True) as bank:
        await bank.execute("SET timezone = 'UTC'")
        await mirror.owner.execute("SET timezone = 'UTC'")
        history = ("--accounts", "6", "--transactions", "3000", "--seed", "7")
        async with (
            sandbox(bank_url, *history, "--speed", "20000") as url,
            process("-c", SERVE, BANK_API_BASE_URL=url, **ingest),
        ):

            async def lived_and_seen() -> bool:
                mirrored = await mirror.ask("SELECT count(*) FROM snapshot.transactions")
                ended = await mirror.ask("SELECT count(*) FROM snapshot.transaction_revisions")
                return bool(mirrored[0][0] > 3_050 and ended[0][0] > 5)

            await until(lived_and_seen, seconds=60)
        async with (
            sandbox(bank_url, "--no-life") as url,
            process("-c", SERVE, BANK_API_BASE_URL=url, **ingest),
        ):

            async def equal() -> bool:
                return await rows(bank, BANKS_ROWS) == await rows(mirror.owner, OUR_ROWS)

            await until(equal, seconds=60)
            balances = "SELECT account_id, current_cents FROM bank.accounts"

            async def balanced() -> bool:
                mine = await rows(mirror.owner, "SELECT account_id, current_minor FROM snapshot.balances")
                return mine == await rows(bank, balances)

            await until(balanced)

        # I-6: what the bank says an account has is the sum of what it says was booked.
        booked = await rows(
            mirror.owner,
            "SELECT account_id, coalesce(sum(in_minor + out_minor), 0) FROM snapshot.balances"
            " LEFT JOIN snapshot.daily_totals USING (account_id) GROUP BY account_id",
        )
        assert booked == await rows(bank, balances)
        assert len(await rows(bank, BANKS_ROWS)) > 3_000, "the bank lived"
        ended = await rows(mirror.owner, "SELECT DISTINCT ended_by FROM snapshot.transaction_revisions")
        assert ended, "holds settled meanwhile"
    await mirror.check()
    # Whatever a poll caught half of while the bank lived: each balance that it stated before explains the one of now.
    async with asking(database_url) as client:
        explained = []
        for account_id, _ in booked:
            response = await client.get(f"/banking/accounts/{account_id}/balance/explain")
            assert response.status_code == 200, response.text
            explained.append(response.json()["data"])
    assert not [found for found in explained if found["ties"] is False]
    assert [found for found in explained if found["ties"] and found["opening"]["source"] == "stated"]
    assert {found["difference_minor"] for found in explained if found["ties"]} == {0}
