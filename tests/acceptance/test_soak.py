"""An hour of the bank's time with a fault in 40 % of all requests: then the mirror is the bank, and `verify` sees it.

`make soak MINUTES=10` runs it longer; an hour of the bank passes in whatever time is given. SEED= brings a run back.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.acceptance.system import COMMAND, environment, run, wait_until
from tests.acceptance.test_mirror import KEY, bank_database, change_by_hand
from tests.waiting import free_port

__all__ = ["bank_database"]

MINUTES = float(os.environ.get("SOAK_MINUTES", "0.15"))
SEED = os.environ.get("SOAK_SEED", "4")
RATE = 0.4
BANK_HOUR_SECONDS = 3600
# What the requests of the last polls may have left: a pause that the bank asked for, or one that a feed earned itself.
REST_SECONDS = 120


@contextmanager
def process(home: Path, log: str, command: list[str], told: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A command of ours until the end of the block."""
    with (home / log).open("a") as output:
        started = subprocess.Popen(
            [*COMMAND, *command], cwd=home, env=environment(home, **told), stdout=output, stderr=output
        )
    try:
        yield started
    finally:
        started.terminate()
        started.wait(20)


@contextmanager
def troubled_bank(home: Path, database: str, port: int) -> Iterator[httpx.Client]:
    """The sandbox, living fast, with faults on the way and events in its books."""
    speed = BANK_HOUR_SECONDS / (MINUTES * 60)
    flags = {
        "database-url": database,
        "port": str(port),
        "transactions": "2000",
        "speed": f"{speed:.0f}",
        "rate-limit-per-second": "0",
        "chaos": str(RATE),
        "chaos-seed": SEED,
        "seed": SEED,
        "chaos-events-per-minute": "60",
    }
    command = ["sandbox", *(word for name, value in flags.items() for word in (f"--{name}", value))]
    told = {"BANKMIRROR_SANDBOX_LIVE_EVENTS_PER_MINUTE": "600"}
    with (
        process(home, "bank.log", command, told),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=KEY, trust_env=False, timeout=30) as client,
    ):
        wait_until(lambda: client.get("/health").is_success or None, 60, "the bank")
        yield client


@pytest.mark.seconds(int(MINUTES * 60) + 400)
def test_forty_percent_faults_for_an_hour(bankmirror_home: Path, bank_database: str, database_url: str) -> None:
    """Faults on the wire, events in the books, ingest killed on the way; they stop, two polls, and all is equal. One
    minor unit changed by hand is found.
    """
    home, port = bankmirror_home, free_port()
    print(f"\n{MINUTES} minutes, SEED={SEED}", flush=True)
    told = {
        "DATABASE_URL": database_url,
        "BANK_API_BASE_URL": f"http://127.0.0.1:{port}",
        "BANK_API_KEY": "sandbox-key",
        "BANKMIRROR_MODE": "sandbox",
        "BANKMIRROR_POLL_SECONDS": "0.2",
        "BANKMIRROR_LEASE_SECONDS": "3",
        "BANKMIRROR_BACKFILL_CHUNK_ROWS": "500",
        "BANKMIRROR_BANK_DEADLINE_SECONDS": "5",
    }
    with troubled_bank(home, bank_database, port) as client:
        ends = time.monotonic() + MINUTES * 60
        while time.monotonic() < ends:
            with process(home, "ingest.log", ["ingest"], told) as ingest:
                time.sleep(max(0.0, min(60.0, (ends - time.monotonic()) / 2 + 1.0)))
                ingest.kill()
        done = client.delete("/_chaos").json()
        assert done["requests"] > 10, done
        assert sum(done["done"].values()) > done["requests"] * RATE / 2, done

        polled = 0
        until = time.monotonic() + REST_SECONDS
        while polled < 2 and time.monotonic() < until:
            ended = run(home, "ingest", "once", told=told, seconds=REST_SECONDS)
            polled += ended.returncode == 0
        assert polled == 2, ended.stdout + ended.stderr

        verified = run(home, "verify", told=told, seconds=REST_SECONDS)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        print(verified.stdout, json.dumps(done["done"]))

        account_id, transaction_id = change_by_hand(database_url)
        verified = run(home, "verify", "--json", told=told, seconds=REST_SECONDS)
        assert verified.returncode == 1, verified.stdout + verified.stderr
        assert (account_id, transaction_id) in names(json.loads(verified.stdout))
        assert_no_secret(database_url)


def names(document: dict[str, Any]) -> set[tuple[str, str]]:
    """The account and the id of each difference that was named."""
    return {(found["account_id"], found["key"]) for found in document["differences"]}


def assert_no_secret(database_url: str) -> None:
    """What failed is on record, and the key of the bank is in none of it."""
    with psycopg.connect(database_url) as connection:
        errors = connection.execute("SELECT error FROM sync.runs WHERE error IS NOT NULL").fetchall()
    assert errors
    assert not any("sandbox-key" in row[0] for row in errors)
