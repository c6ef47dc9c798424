"""The mirror is the bank, row for row, whatever happened at the bank while it was read.

`BANKMIRROR_TEST_MIRROR_ROWS=200000` runs it at full size; the default keeps the suite quick.
"""

import json
import os
import re
import secrets
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql

from tests.acceptance.system import COMMAND, environment, run, wait_until
from tests.waiting import free_port

ROWS = int(os.environ.get("BANKMIRROR_TEST_MIRROR_ROWS", "5000"))
KEY = {"Authorization": "Bearer sandbox-key"}


@pytest.fixture
def bank_database(server_url: str, administrator: "psycopg.Connection[Any]") -> Iterator[str]:
    """An empty database for a bank."""
    name = f"bank_{secrets.token_hex(6)}"
    administrator.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    administrator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def bank(home: Path, database: str, port: int, *flags: str) -> Iterator[httpx.Client]:
    """The sandbox bank as a process of its own."""
    command = [
        *COMMAND,
        "sandbox",
        "--database-url",
        database,
        "--port",
        str(port),
        "--transactions",
        str(ROWS),
    ]
    told = environment(home, BANKMIRROR_SANDBOX_LIVE_EVENTS_PER_MINUTE="6000")
    with (home / "bank.log").open("a") as log:
        process = subprocess.Popen(
            [*command, "--rate-limit-per-second", "0", *flags], cwd=home, env=told, stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY, trust_env=False) as client:
            wait_until(lambda: client.get("/health").is_success or None, 60, "the bank")
            yield client
    finally:
        process.terminate()
        process.wait(10)


def rows_of_bank(client: httpx.Client) -> set[tuple[Any, ...]]:
    """Every transaction as the bank lists it: not the way by which ingest reads them."""
    rows: set[tuple[Any, ...]] = set()
    for account in client.get("/accounts", params={"limit": 500}).json()["data"]:
        cursor: dict[str, str] = {}
        while True:
            parameters = {"account_id": account["account_id"], "limit": 500, **cursor}
            page = client.get("/transactions", params=parameters).json()
            rows |= {
                (
                    entry["account_id"],
                    entry["transaction_id"],
                    entry["amount_cents"],
                    entry["currency"],
                    entry["status"],
                    entry["type"],
                    entry["description"],
                    entry["booked_on"],
                    (entry["counterparty"] or {}).get("name"),
                    entry["client_reference"],
                )
                for entry in page["data"]
            }
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
    return rows


def rows_of_mirror(database_url: str) -> set[tuple[Any, ...]]:
    """Every transaction in the mirror."""
    with psycopg.connect(database_url) as connection:
        query = (
            "SELECT account_id, transaction_id, amount_minor, currency, status, type, description,"
            " booked_on::text, counterparty_name, client_reference FROM snapshot.transactions"
        )
        return set(connection.execute(query).fetchall())


@pytest.mark.seconds(600)
def test_mirror_equals_the_bank(bankmirror_home: Path, bank_database: str, database_url: str) -> None:
    """A backfill while the bank books, settles, corrects, removes and is paid through: both end alike."""
    port = free_port()
    told = {
        "DATABASE_URL": database_url,
        "BANK_API_BASE_URL": f"http://127.0.0.1:{port}",
        "BANK_API_KEY": "sandbox-key",
        "BANKMIRROR_MODE": "sandbox",
        # Small chunks, so that the bank changes between them.
        "BANKMIRROR_BACKFILL_CHUNK_ROWS": str(max(ROWS // 10, 500)),
    }
    with bank(bankmirror_home, bank_database, port, "--speed", "20000") as client:
        head = client.get("/health").json()["head"]
        stop = threading.Event()
        payer = threading.Thread(target=pay, args=(client, stop))
        payer.start()
        filled = run(bankmirror_home, "backfill", seconds=500, told=told)
        stop.set()
        payer.join()
        assert filled.returncode == 0, filled.stdout + filled.stderr
        assert re.search(r"✓ in the mirror: [0-9,]+ transactions of 8 accounts, .*account-days ties", filled.stdout)
        assert client.get("/health").json()["head"] > head + 20, "the bank did live meanwhile"

    with bank(bankmirror_home, bank_database, port, "--no-life") as client:
        assert run(bankmirror_home, "ingest", "once", seconds=120, told=told).returncode == 0
        at_bank, mirrored = rows_of_bank(client), rows_of_mirror(database_url)
        assert len(at_bank) > ROWS
        assert mirrored == at_bank

        verified = run(bankmirror_home, "verify", seconds=120, told=told)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert f"equal: {len(at_bank):,} transactions of 8 accounts" in verified.stdout

        account_id, transaction_id = change_by_hand(database_url)
        verified = run(bankmirror_home, "verify", "--json", seconds=120, told=told)
        assert verified.returncode == 1, verified.stdout + verified.stderr
        found = json.loads(verified.stdout)
        assert found["verdict"] == "different"
        named = {(told["account_id"], told["subject"], told["key"]) for told in found["differences"]}
        assert (account_id, "transaction", transaction_id) in named

    away = run(bankmirror_home, "verify", seconds=120, told={**told, "BANKMIRROR_BANK_DEADLINE_SECONDS": "2"})
    assert away.returncode == 2, away.stdout + away.stderr
    assert "not compared: bank-unreachable" in away.stdout


def change_by_hand(database_url: str) -> tuple[str, str]:
    """One minor unit more, on any booked row; its account and id."""
    with psycopg.connect(database_url) as connection:
        changed = connection.execute(
            "UPDATE snapshot.transactions SET amount_minor = amount_minor + 1 WHERE (account_id, transaction_id) ="
            " (SELECT account_id, transaction_id FROM snapshot.transactions WHERE status = 'posted' LIMIT 1)"
            " RETURNING account_id, transaction_id"
        ).fetchone()
    assert changed is not None
    return changed


def pay(client: httpx.Client, stop: threading.Event) -> None:
    """Move money at the bank, back and forth, until told to stop."""
    source, destination = "acct_123", "acct_456"
    while not stop.wait(0.02):
        order = {
            "source_account_id": source,
            "destination_account_id": destination,
            "amount_cents": 7,
            "type": "transfer",
        }
        client.post("/transactions", json=order, headers={"Idempotency-Key": secrets.token_hex(16)})
        source, destination = destination, source
