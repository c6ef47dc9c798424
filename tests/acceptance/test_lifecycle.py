"""Starting, stopping and starting again: nothing is lost, left behind or in the way."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.system import (
    System,
    alive,
    end,
    launch,
    post_transfer,
    run,
    running,
    wait_until,
)
from tests.waiting import PATIENCE, free_port

# What a person waits at most after Ctrl-C, for all processes and a clean stop of the database. On an idle machine it is
# one or two; the limit is for one that has other things to do.
STOPPED_SECONDS = 20.0
# For those that start whole systems again and again.
pytestmark = pytest.mark.seconds(170)


@pytest.fixture
def home(bankmirror_home: Path) -> Iterator[Path]:
    """A home whose processes are all gone in the end, whatever the test left running."""
    yield bankmirror_home
    for process in left_running(bankmirror_home):
        process.kill()


def left_running(home: Path) -> list[psutil.Process]:
    """Processes of ours, and PostgreSQL's, that belong to this home."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if (process.info["environ"] or {}).get("BANKMIRROR_HOME") == str(home)
        or any(str(home) in word for word in process.info["cmdline"] or [])
    ]


def pids(system: System) -> dict[str, int]:
    """Every process of the system."""
    children = {name: child["pid"] for name, child in system.state()["children"].items()}
    return {**children, "postgres": system.pid("postgres")}


def mirrored(system: System) -> set[str]:
    """Posted transactions of one account, and the transfers that were asked for."""
    with system.database() as connection:
        rows = connection.execute(
            "SELECT transaction_id FROM read.transactions WHERE account_id = 'acct_123' AND status = 'posted'"
            " UNION ALL SELECT transfer_id::text FROM read.transfers"
        ).fetchall()
    return {row[0] for row in rows}


def test_ctrl_c_stops_all_and_the_next_start_keeps_the_data(home: Path) -> None:
    """Ctrl-C: exit code 0 in seconds, no process left. The next start has all; with --fresh, nothing."""
    with running(home, "--accounts", "3", "--transactions", "300", "--port", str(free_port())) as system:
        transfer = post_transfer(system.url).json()["transfer_id"]
        before, processes = mirrored(system), pids(system)
        bank_port = system.state()["sandbox_port"]
        assert transfer in before
        assert len(processes) == 5

        code, seconds = system.interrupt()

        assert code == 0
        assert seconds < STOPPED_SECONDS
        assert left_running(home) == []
        assert "Traceback" not in system.text()

    # The bank's port is somebody else's now. It is the same bank, for the mirror and for transfers.
    with socket.create_server(("127.0.0.1", bank_port)), running(home) as system:
        assert "with the data of last time" in system.text()
        assert before <= mirrored(system)
        assert system.state()["sandbox_port"] != bank_port
        assert post_transfer(system.url).json()["status"] == "completed"
        code, seconds = system.interrupt()
        assert (code, seconds < STOPPED_SECONDS) == (0, True)

    unasked = run(home, "up", "--fresh")
    assert unasked.returncode == 1, "it asks before it drops, and nobody answered"

    with running(home, "--fresh", "--yes", "--port", str(free_port())) as system:
        assert "a new database" in system.text()
        assert transfer not in mirrored(system)


@pytest.mark.parametrize("shown", ["Bankmirror", "PostgreSQL", "sandbox bank"])
def test_ctrl_c_during_the_start(home: Path, shown: str) -> None:
    """Ctrl-C before everything is up: nothing is left running, and that is not an error."""
    process, output = launch(home)
    try:
        wait_until(lambda: shown in output.read_text() or None, PATIENCE, shown)
        process.send_signal(signal.SIGINT)
        code = process.wait(STOPPED_SECONDS)
    finally:
        end(process)

    assert (code, left_running(home)) == (0, [])
    assert "Traceback" not in output.read_text()


def test_kill_of_the_supervisor_and_of_everything(home: Path) -> None:
    """kill -9 of `up`: its children end by themselves, and one that cannot is no obstacle.

    kill -9 of every process at once: the next start recovers, and has all that was acknowledged.
    """
    port = str(free_port())
    with running(home, "--port", port) as system:
        before, processes = mirrored(system), pids(system)
        stopped, _ = processes.pop("front"), processes.pop("postgres")
        os.kill(stopped, signal.SIGSTOP)
        system.process.kill()
        system.process.wait()
        wait_until(lambda: not any(map(alive, processes.values())) or None, PATIENCE, "the children gone")
        assert alive(stopped)

    with running(home, "--port", port) as system:
        assert not alive(stopped)
        assert system.url.endswith(f":{port}"), "the port that the stopped one held is ours again"
        assert before <= mirrored(system)

        transfer = post_transfer(system.url).json()["transfer_id"]
        before = mirrored(system)
        for pid in (system.process.pid, *pids(system).values()):
            os.kill(pid, signal.SIGKILL)
        system.process.wait()

    with running(home, "--port", port) as system:
        assert transfer in before <= mirrored(system)
        assert post_transfer(system.url).status_code == 200


def test_taken_port_and_second_start(home: Path, shared_system: System) -> None:
    """A taken port: the next free one, said. Two homes run side by side; two `up` in one home do not."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(home, "--port", str(port)) as system:
            assert system.url != shared_system.url
            assert int(system.url.rsplit(":", 1)[1]) > port
            assert f"since {port} is taken" in system.text()
            assert system.get("/health").status_code == shared_system.get("/health").status_code == 200

            second = run(home, "up")

    assert second.returncode == 1
    assert second.stdout == ""
    assert f"already running (pid {system.process.pid}) at {system.url}" in second.stderr


def test_a_bank_that_is_given_is_live(home: Path, shared_system: System) -> None:
    """BANK_API_BASE_URL: no sandbox of its own, every request needs the token, and transfers need a key."""
    token = "t" * 40
    told = {
        "BANK_API_BASE_URL": shared_system.state()["sandbox_url"],
        "BANK_API_KEY": "sandbox-key",
        "BANKMIRROR_API_TOKEN": token,
    }
    allowed = {"Authorization": f"Bearer {token}"}
    with running(home, **told) as system:
        assert set(system.state()["children"]) == {"ingest", "transfers", "front"}
        assert "$BANKMIRROR_API_TOKEN" in system.box.curl
        assert token not in system.text()
        for path in ("/banking/accounts", "/banking/balances", "/banking/transfers/x"):
            assert system.get(path).status_code == 401, path
        # The box shows them to a browser, which has no token.
        for path in ("/docs", "/docs/transfers/", "/docs/transfers/openapi.json"):
            assert system.get(path).status_code == 200, path
        assert system.get("/banking/accounts", **allowed).status_code == 200
        assert post_transfer(system.url).status_code == 401
        assert post_transfer(system.url, allowed).json()["type"] == "/problems/idempotency-key-missing"
        made = post_transfer(system.url, {**allowed, "Idempotency-Key": "live-mode-acceptance-test"})
        assert made.json()["status"] == "completed"
