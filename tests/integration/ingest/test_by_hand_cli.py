"""`bankmirror breaker` and `bankmirror quarantine`, as they are typed and as they read."""

import json
import os
import subprocess
import sys

import pytest

from bankmirror.breaker import consequence
from bankmirror.plain import line_of
from tests.integration.ingest.conftest import Mirror
from tests.integration.ingest.model_bank import ModelBank, ModelReader


def run(database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process and with nothing set but where the mirror is."""
    env = {**{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, "DATABASE_URL": database_url}
    command = [sys.executable, "-m", "bankmirror", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=50, check=False)


async def test_a_breaker_is_listed_and_accepted(bank: ModelBank, mirror: Mirror, database_url: str) -> None:
    """What is missing, and the commands; who accepted it and why; and that it takes a reason."""
    bank.page_rows = 100
    for number in range(12):
        bank.post("acct_a", -number - 1)
    desk = await mirror.open(ModelReader(bank, delta_feed=False))
    await mirror.poll(desk, "transactions", "acct_a")
    bank.rows.clear()
    await mirror.poll(desk, "transactions", "acct_a")

    listed = run(database_url, "breaker", "list").stdout
    assert "12 of 12 transactions of acct_a are not listed any more" in listed
    assert "acct_a txn_000001" in listed
    assert "… and 2 more" in listed
    assert run(database_url, "breaker", "accept", "1").returncode == 2
    assert "say why" in run(database_url, "breaker", "accept", "1", "--reason", " ").stderr
    assert "no breaker 99 is open" in run(database_url, "breaker", "decline", "99", "--reason", "x").stderr
    accepted = run(database_url, "breaker", "accept", "1", "--reason", "moved to the archive", "--by", "ann")
    assert (accepted.returncode, accepted.stderr) == (0, "")
    assert "removes what it still misses" in accepted.stdout
    assert "accepted by ann" in run(database_url, "breaker", "list").stdout
    (document,) = json.loads(run(database_url, "breaker", "list", "--json").stdout)
    assert (document["decision"], document["reason"]) == ("accepted", "moved to the archive")


@pytest.mark.parametrize("feed", ["transactions", "accounts", "balances"])
def test_a_decision_says_what_follows(feed: str) -> None:
    """Only transactions are ever removed."""
    assert ("removes" in consequence(feed, "accepted")) is (feed == "transactions")
    assert "nothing is removed" in consequence(feed, "declined")


async def test_a_sweep_is_asked_for(bank: ModelBank, mirror: Mirror, database_url: str) -> None:
    """Of every feed, after a poll that is due now; where there is none yet, that is said."""
    nothing = run(database_url, "ingest", "sweep")
    assert (nothing.returncode, "nothing is mirrored yet" in nothing.stderr) == (1, True)
    desk = await mirror.open(ModelReader(bank, delta_feed=False))
    await mirror.poll(desk, "accounts")

    asked = run(database_url, "ingest", "sweep")

    assert (asked.returncode, asked.stderr) == (0, "")
    assert "sweeps 2 feeds" in asked.stdout
    due = await mirror.ask(
        "SELECT sweep.account_id, sweep.due_at <= now(), target.due_at <= now()"
        "  FROM sync.sweeps AS sweep JOIN sync.targets AS target USING (connection_id, account_id)"
        " WHERE feed = 'transactions' ORDER BY account_id"
    )
    assert due == [("acct_a", True, True), ("acct_b", True, True)]


async def test_quarantine_is_listed_shown_and_resolved(bank: ModelBank, mirror: Mirror, database_url: str) -> None:
    """The reason, and an excerpt that moves no terminal; the bytes as they came; and an answer for them."""
    good = bank.post("acct_a", -1)
    bank.put_row({**bank.rows["acct_a", good], "transaction_id": " ", "type": "card [red]\u202e\x1b[31m"})
    desk = await mirror.open(ModelReader(bank))
    await mirror.poll(desk)

    listed = run(database_url, "quarantine", "list")
    assert listed.returncode == 0
    assert "transaction_id is missing, a placeholder or not an id" in listed.stdout
    assert "1 open" in listed.stdout
    assert not {"\x1b", "\u202e"} & {*listed.stdout}
    assert json.loads(run(database_url, "quarantine", "show", "1").stdout)["amount_cents"] == -1
    (document,) = json.loads(run(database_url, "quarantine", "list", "--json").stdout)
    assert (document["quarantine_id"], document["times_seen"]) == (1, 1)
    retried = run(database_url, "quarantine", "retry")
    assert (retried.returncode, "0 settled, 1 kept" in retried.stdout) == (1, True)
    assert "there is no entry 7" in run(database_url, "quarantine", "show", "7").stderr
    resolved = run(database_url, "quarantine", "resolve", "1", "--reason", "an advertisement", "--by", "ann")
    assert (resolved.returncode, resolved.stderr) == (0, "")
    assert run(database_url, "quarantine", "list").stdout == "nothing is in quarantine\n"
    assert "by hand by ann: an advertisement" in run(database_url, "quarantine", "list", "--all").stdout


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\u202e\u200b\U000e0041\n\x85", " [31mred     "),
        ("x" * 30, "x" * 9 + "…"),
        ("é日\U0001f600", "é日\U0001f600"),
    ],
)
def test_a_line_is_a_line(text: str, line: str) -> None:
    """No control, bidi, zero-width or tag character reaches a terminal, and nothing is longer than it may be."""
    assert line_of(text, 10 if text.startswith("x") else 200) == line
