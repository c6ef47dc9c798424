"""The benchmark of reads does not rot: its servers start and agree, its load is counted, its changes are applied."""

from pathlib import Path

import httpx
import psycopg
import pytest

from benchmarks import load, reads, report, results
from benchmarks.applying import applying
from benchmarks.callers import make_token, mcp_call
from benchmarks.filled import account_id, fill
from benchmarks.load import Asked, Load, put_load
from benchmarks.processes import Server, serving
from benchmarks.questions import Read
from benchmarks.reads import COLD, HOT, SQLALCHEMY, Crowd, Memory, Reads, Size

TINY = Size(accounts=20, per_account=4, rounds=1, seconds=1, connections=2, crowds=(1,))


def test_the_servers_answer_alike_and_can_be_loaded(database_url: str) -> None:
    """On a small mirror: ours, the SQLAlchemy route and the bare app agree; a token and a tool's call are good; and a
    load, over drawn paths and over different ones, is counted where there is what makes it.
    """
    fill(database_url, TINY.accounts, TINY.per_account)
    with (
        reads.ours(database_url, {}) as server,
        reads.peer("sqlalchemy_activity", database_url) as sqlalchemy,
        reads.peer("kept_bytes", "bare", server.url + reads.ONE) as bare,
    ):
        reads.require_equal(server, sqlalchemy, [bare], TINY)
        with pytest.raises(AssertionError, match="the answers that are kept"):
            reads.require_equal(server, sqlalchemy, [sqlalchemy], TINY)
        token = {"Authorization": f"Bearer {make_token(database_url)}"}
        assert httpx.get(server.url + reads.ONE, headers=token).status_code == httpx.codes.OK
        assert mcp_call(server.url, account_id(0)).body
        if load.is_installed():
            for asked in (Asked(reads.ACTIVITY, TINY.accounts), Asked(reads.DISTINCT, TINY.accounts, each_from=0)):
                measured = loaded(server, asked)
                assert measured.requests > 0
                assert measured.server_cpu_seconds > 0
            with pytest.raises(AssertionError, match="answers failed"):
                loaded(server, Asked("/banking/accounts/nobody/activity"))


def loaded(server: Server, asked: Asked) -> Load:
    """A second of load."""
    return put_load(server.url, asked, server=server.pid, database=server.pid, connections=2, seconds=1)


def test_changes_are_applied_as_ingest_does(database_url: str) -> None:
    """Polls of new transactions, each with its run."""
    fill(database_url, TINY.accounts, TINY.per_account)
    with applying(database_url, TINY.accounts, 50) as applied:
        pass
    assert applied.per_second > 0
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT count(*), count(DISTINCT run_id) FROM snapshot.transactions WHERE transaction_id LIKE 'new%'"
        ).fetchone()
    assert found is not None
    assert found[0] >= 10
    assert found[1] >= 1


def test_a_server_that_does_not_start_is_told() -> None:
    """With what it printed."""
    with pytest.raises(AssertionError, match="no such flag"), serving(["sh", "-c", "echo no such flag"], 9):
        raise AssertionError("it was taken for a server")


def test_results_are_kept_and_told(tmp_path: Path) -> None:
    """What is written is read again, and the page says which bar was met and which was missed."""
    loads = {name: [Load(1000, 1.0, 1.0, 2.0, 3.0, 0, cost, cost)] for name, cost in ((HOT, 0.1), (SQLALCHEMY, 1.0))}
    ways = (reads.BARE, reads.HOT_TOKEN, reads.UNCHANGED, reads.COLD_TOKEN, COLD)
    rounds = dict.fromkeys(ways, loads[HOT]) | loads
    crowds = [Crowd(HOT, 1, loads[HOT][0])]
    questions = [Read("how much?", 10, 1000, "1.00")]
    figures = Reads(Size(), rounds, crowds, 500.0, Memory(1000, (1, 2, 3)), questions, 5000, loads[HOT][0])
    measured = results.Results(reads=figures)

    results.save(measured, tmp_path / "results.json")
    assert results.load(tmp_path / "results.json") == measured
    page = report.page(measured)
    assert "| 304, of hot (rounds 1.00 to 1.00, by processor time 1.00) | at least 1 | 1.00 | met |" in page
    missed = "(rounds 1.00 to 1.00, by processor time 10.00) | at least 4 | 1.00 | **missed** |"
    assert f"| cold, times the SQLAlchemy route {missed}" in page
    assert results.load(tmp_path / "nothing.json") == results.Results()
