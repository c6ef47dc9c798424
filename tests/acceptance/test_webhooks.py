"""The bank that `up` runs says what changed, through the one port, and is heard."""

import httpx

from tests.acceptance.system import System, wait_until
from tests.waiting import PATIENCE


def test_the_sandbox_is_heard(shared_system: System) -> None:
    """Its messages arrive signed, and what they named is asked for at once: nobody has set anything up."""
    with shared_system.database() as database:

        def count(query: bytes) -> int:
            (number,) = database.execute(query).fetchone()  # type: ignore[misc]  # a count is always there
            return int(number)

        taken = b"SELECT count(*) FROM sync.webhooks"
        before = count(taken)
        wait_until(lambda: count(taken) > before, 2 * PATIENCE, "another webhook")
        hastened = b"SELECT count(*) FROM sync.targets WHERE hastened_at IS NOT NULL"
        wait_until(lambda: count(hastened) == 3, PATIENCE, "every feed was asked for")


def test_a_stranger_is_not_heard(shared_system: System) -> None:
    """The path needs no token, and takes nothing that the bank did not sign."""
    answer = httpx.post(f"{shared_system.url}/webhooks/bank", json={"event": "any"}, trust_env=False)

    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/webhook-refused")
