"""`bankmirror up` does the main job: a bank, its mirror, answers, and money that moves."""

import shlex
import subprocess
import sys

import httpx

from tests.acceptance.system import System, post_transfer, run, wait_until
from tests.waiting import PATIENCE

# The client of the older contract, as it was before there was Bankmirror.
OLDER_SCRIPT = """
import sys, httpx
order = {"account_id": "acct_123", "destination_account_id": "acct_456", "amount_cents": 2500}
response = httpx.post(sys.argv[1] + "/banking/transfer", json=order)
body = response.json()
print(response.status_code, body["transaction_id"], body["status"], body["logged"])
"""


def test_printed_answer_is_the_real_one(shared_system: System) -> None:
    """The curl in the box works as it stands, and the answer under it was the answer."""
    box = shared_system.box
    curl, *arguments = shlex.split(box.curl)

    again = httpx.get(arguments[-1], trust_env=False)

    assert (curl, again.status_code) == ("curl", 200)
    assert set(again.json()[0]) == set(box.answer[0])
    (printed,) = box.answer
    assert printed["id"] in {item["id"] for item in shared_system.activity("acct_123")}


def test_nothing_is_printed_after_the_box(shared_system: System) -> None:
    """The last thing on the screen is what a newcomer needs."""
    last = shared_system.text().split(" more ", 1)[1].splitlines()[2:]

    assert [line for line in last if "starting it again" not in line and "runs again" not in line] == []


def test_older_transfer_contract(shared_system: System) -> None:
    """An unmodified script moves money and reads its three keys."""
    script = [sys.executable, "-c", OLDER_SCRIPT, shared_system.url]

    printed = subprocess.run(script, capture_output=True, text=True, check=True, timeout=30).stdout.split()

    assert printed[0] == "200"
    assert printed[1]
    assert printed[2:] == ["completed", "True"]


def test_transfer_is_seen_at_once_and_counted_once(shared_system: System) -> None:
    """An agent sees its own write at once; when the bank shows it too, it is there once, as the bank's."""
    answer = post_transfer(shared_system.url).json()
    transaction_id, transfer_id = answer["transaction_id"], answer["transfer_id"]

    at_once = [item for item in shared_system.activity("acct_123") if _is(item, transaction_id, transfer_id)]
    assert len(at_once) == 1
    assert at_once[0]["amount_cents"] == -2500

    def as_the_banks() -> dict[str, object] | None:
        found = [item for item in shared_system.activity("acct_123") if _is(item, transaction_id, transfer_id)]
        assert len(found) == 1, "never twice, and never gone in between"
        return found[0] if found[0]["kind"] == "transaction" else None

    mirrored = wait_until(as_the_banks, PATIENCE, "the bank's own transaction in the activity")
    assert mirrored["id"] == transaction_id
    assert mirrored["amount_cents"] == -2500


def _is(item: dict[str, object], transaction_id: str, transfer_id: str) -> bool:
    return transaction_id in item.values() or transfer_id in item.values()


def test_bank_lives_and_the_mirror_follows(shared_system: System) -> None:
    """New transactions of the bank appear in the answers by themselves."""
    with shared_system.database() as connection:
        accounts = [row[0] for row in connection.execute("SELECT account_id FROM read.accounts").fetchall()]
    before = {item["id"] for account_id in accounts for item in shared_system.activity(account_id)}

    def news() -> set[str] | None:
        now = {item["id"] for account_id in accounts for item in shared_system.activity(account_id)}
        return (now - before) or None

    assert wait_until(news, PATIENCE, "a transaction that nobody asked for")


def test_errand_beside_it(shared_system: System) -> None:
    """It finds database and bank by itself, says that it had little to do, and leaves the mirror its pace."""
    with shared_system.database() as connection:
        paces = connection.execute("SELECT DISTINCT interval_seconds FROM sync.targets").fetchall()

        done = run(shared_system.home, "backfill")

        assert connection.execute("SELECT DISTINCT interval_seconds FROM sync.targets").fetchall() == paces
    assert (done.returncode, done.stderr) == (0, "")
    assert "the mirror was already complete: only what changed since was read" in done.stdout
    assert "in the mirror: " in done.stdout


def test_front_serves_both_halves(shared_system: System) -> None:
    """One port has the read API, the transfers, and a page for each that needs no network."""
    for path in (
        "/health",
        "/ready",
        "/docs",
        "/openapi.json",
        "/docs/transfers/",
        "/docs/transfers/openapi.json",
    ):
        assert shared_system.get(path).status_code == 200, path
    assert "/banking/transfer" in shared_system.get("/docs/transfers/openapi.json").json()["paths"]
    assert shared_system.get("/docs/transfers").headers["location"] == "/docs/transfers/"
    assert "https://" not in shared_system.get("/docs/transfers/").text
    unknown = shared_system.get("/banking/transfers/00000000-0000-0000-0000-000000000000")
    assert unknown.status_code == 404
    assert unknown.headers["content-type"] == "application/problem+json"
    assert len(unknown.headers.get_list("date")) == 1


def test_front_cannot_move_money_itself(shared_system: System) -> None:
    """The process on the public port is the reader in the database, and nothing else."""
    with shared_system.database() as connection:
        rows = connection.execute("SELECT DISTINCT application_name FROM pg_stat_activity").fetchall()
        reader = connection.execute(
            "SELECT has_table_privilege('bankmirror_reader', 'transfer.transfers', 'INSERT'),"
            " has_table_privilege('bankmirror_reader', 'snapshot.transactions', 'INSERT')"
        ).fetchone()

    assert {"bankmirror readapi", "bankmirror ingest", "bankmirror transfers"} <= {row[0] for row in rows}
    assert reader == (False, False)
