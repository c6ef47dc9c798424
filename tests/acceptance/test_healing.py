"""Whatever is killed comes back by itself within seconds, and readers are told the truth meanwhile."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.acceptance.system import System, alive, post_transfer, wait_until

# From the kill to work being done again: noticing, a pause, and a Python process that imports its package. That takes a
# few seconds, and the more the less a machine has left to give.
HEALED_SECONDS = 45


def kill(system: System, child: str) -> None:
    """kill -9, and wait until another process has taken its place."""
    dead = system.pid(child)
    os.kill(dead, signal.SIGKILL)
    wait_until(lambda: system.pid(child) != dead or None, HEALED_SECONDS, f"another {child}")


def wait_until_fresh(system: System) -> None:
    """Until every feed was confirmed after now."""
    with system.database() as connection:
        (now,) = connection.execute("SELECT now()").fetchone() or (None,)

    def confirmed() -> bool | None:
        with system.database() as again:
            query = "SELECT min(synced_at) > %s FROM sync.targets WHERE parked_reason IS NULL"
            (done,) = again.execute(query, [now]).fetchone() or (None,)
        return done or None

    wait_until(confirmed, HEALED_SECONDS, "all feeds polled again")
    wait_until(lambda: system.verdict()["verdict"] == "fresh" or None, HEALED_SECONDS, "a fresh verdict")


def test_killed_ingest_polls_again(shared_system: System) -> None:
    """kill -9 of ingest: another one takes over its feeds when their lease is past."""
    kill(shared_system, "ingest")

    wait_until_fresh(shared_system)
    assert "ingest was killed (SIGKILL), starting it again" in shared_system.text()


def test_killed_front_refuses_nobody(shared_system: System) -> None:
    """kill -9 of the front: callers wait for the next one, and are not refused."""
    with ThreadPoolExecutor() as threads:
        dead = shared_system.pid("front")
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: not alive(dead) or None, HEALED_SECONDS, "its end")
        calls = [threads.submit(shared_system.get, "/banking/accounts") for _ in range(5)]
        answers = [call.result().status_code for call in calls]

    assert answers == [200] * 5
    wait_until(lambda: shared_system.pid("front") != dead or None, HEALED_SECONDS, "another front")


def test_killed_transfers_moves_money_again(shared_system: System) -> None:
    """kill -9 of transfers: reads go on, and a transfer with a key is made once, however often asked."""
    os.kill(shared_system.pid("transfers"), signal.SIGKILL)

    key = {"Idempotency-Key": f"acceptance-{time.time_ns()}"}
    during = post_transfer(shared_system.url, headers=key)
    assert during.status_code in (200, 202, 503), "an honest answer, not a hang and not a 500"
    assert shared_system.get("/banking/accounts").status_code == 200

    def made() -> httpx.Response | None:
        answer = post_transfer(shared_system.url, headers=key)
        return answer if answer.status_code == 200 else None

    first = wait_until(made, HEALED_SECONDS, "a transfer")
    again = post_transfer(shared_system.url, headers=key)
    assert again.json()["transfer_id"] == first.json()["transfer_id"]


def test_killed_bank_is_read_again(shared_system: System) -> None:
    """kill -9 of the sandbox bank: the mirror answers meanwhile, and follows it when it is back."""
    kill(shared_system, "sandbox")
    assert shared_system.get("/banking/accounts").status_code == 200

    wait_until_fresh(shared_system)
    assert post_transfer(shared_system.url).status_code == 200


def test_stopped_bank_makes_answers_stale(shared_system: System) -> None:
    """A bank that does not answer: the verdict turns stale and says why; then it heals."""
    bank = psutil.Process(shared_system.pid("sandbox"))
    bank.suspend()
    try:

        def stale() -> dict[str, object] | None:
            found = shared_system.verdict()
            return found if found["verdict"] == "stale" else None

        said = wait_until(stale, HEALED_SECONDS, "a stale verdict")
    finally:
        bank.resume()

    assert said["reason"]
    assert said["remedy"]
    wait_until_fresh(shared_system)


def posted(system: System, limit: int) -> set[str]:
    """Posted ones of the newest transactions: what is pending may go on under another id."""
    return {item["id"] for item in system.activity("acct_123", limit) if item["status"] == "posted"}


@pytest.mark.parametrize("victim", ["postmaster", "backend"])
def test_killed_database_comes_back(shared_system: System, victim: str) -> None:
    """kill -9 of PostgreSQL, or of one of its backends: it recovers, and so does everything that uses it."""
    before = posted(shared_system, 100)
    postmaster = shared_system.pid("postgres")
    if victim == "postmaster":
        os.kill(postmaster, signal.SIGKILL)
    else:
        with shared_system.database() as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'bankmirror readapi' LIMIT 1"
            (pid,) = connection.execute(query).fetchone() or (0,)
            os.kill(pid, signal.SIGKILL)

    def answered() -> httpx.Response | None:
        response = shared_system.get("/banking/accounts/acct_123/activity?limit=100")
        assert response.status_code in (200, 503), response.text
        return response if response.status_code == 200 else None

    wait_until(answered, HEALED_SECONDS, "an answer")
    wait_until_fresh(shared_system)
    # Newer ones may have come in front of them.
    assert before <= posted(shared_system, 500)
    assert post_transfer(shared_system.url).status_code == 200
