"""Who bears no old answer: the bank is asked for him, he waits for it a while, and then is told how old it is."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from readapi import patience
from tests.conftest import Connect
from tests.integration.freshness.kept import Kept
from tests.integration.ingest.conftest import Mirror as Ingest
from tests.integration.ingest.http_bank import HttpBank, serve_bank
from tests.integration.ingest.model_bank import ModelBank
from tests.integration.ingest.test_hints import quiet_ingest
from tests.integration.readapi.mirror import Mirror
from tests.waiting import PATIENCE, until

HOUR_OLD = "synced_at = now() - interval '1 hour', attempted_at = now() - interval '1 hour'"


@pytest.fixture
def written(database_url: str) -> Any:
    """A mirror filled by hand."""
    mirror = Mirror(database_url)
    yield mirror
    mirror.close()


async def ask(kept: Kept, path: str, wait: int = 0, cache_control: str = "") -> httpx.Response:
    """A question whose caller waits so long."""
    said = {"Cache-Control": cache_control} if cache_control else {}
    return await kept.client.get(path, headers={"Prefer": f"wait={wait}", **said})


async def test_what_is_too_old_is_refused_with_what_is_known(written: Mirror, kept: Kept) -> None:
    """The problem says how old it is, why, and when the next poll is due; young enough, it is an answer."""
    written.account("acct_a")
    written.feeds()
    written.run(f"UPDATE sync.targets SET {HOUR_OLD}, due_at = now() + interval '100 seconds'")
    path = "/banking/accounts/acct_a/transactions"

    refused = await ask(kept, f"{path}?max_age=60")

    told = refused.json()
    assert (refused.status_code, told["type"]) == (503, "/problems/stale-data")
    assert told["verdict"] == "fresh"
    assert told["max_age"] == 60
    assert 3600 <= told["age_seconds"] <= 3600 + PATIENCE
    assert told["synced_at"] is not None
    assert 60 <= int(refused.headers["retry-after"]) <= 100
    assert refused.headers["preference-applied"] == "wait=0"
    assert (await ask(kept, f"{path}?max_age=7200")).status_code == 200
    assert (await ask(kept, path, cache_control="max-age=60")).status_code == 503
    assert (await ask(kept, path, cache_control="max-age=soon")).status_code == 200


@pytest.mark.parametrize(("hours", "retry_after"), [(1, "60"), (0, "15")])
async def test_where_nobody_polls_one_is_not_asked_to_hurry(
    hours: int, retry_after: str, written: Mirror, kept: Kept
) -> None:
    """A poll that has long been due does not come within the second: half the age, a minute at most, and it is said."""
    written.account("acct_a")
    written.feeds()
    old = f"now() - interval '{hours} hours 31 seconds'"
    written.run(f"UPDATE sync.targets SET synced_at = {old}, attempted_at = {old}, due_at = {old}")

    refused = await ask(kept, "/banking/accounts/acct_a/transactions?max_age=0")

    assert refused.status_code == 503
    assert int(retry_after) <= int(refused.headers["retry-after"]) <= 60
    assert "the mirror is not being kept" in refused.json()["detail"]


async def test_a_poll_that_is_due_just_now_is_awaited_soon(written: Mirror, kept: Kept) -> None:
    """It is being done, as far as anybody knows."""
    written.account("acct_a")
    written.feeds()
    written.run(f"UPDATE sync.targets SET {HOUR_OLD}, due_at = now()")

    refused = await ask(kept, "/banking/accounts/acct_a/transactions?max_age=60")

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "not being kept" not in refused.json()["detail"]


async def test_an_answer_that_is_kept_is_not_younger_for_it(written: Mirror, kept: Kept) -> None:
    """It was kept for one who bears its age; who does not is not given it."""
    written.account("acct_a")
    written.feeds()
    written.run("UPDATE sync.targets SET synced_at = now() - interval '10 minutes'")
    path = "/banking/accounts/acct_a/transactions"
    assert (await kept.client.get(path)).status_code == 200

    assert (await ask(kept, path, cache_control="max-age=60")).status_code == 503
    assert (await ask(kept, f"{path}?max_age=3600")).status_code == 200
    assert (await ask(kept, f"{path}?max_age=3600")).status_code == 200


async def test_what_was_never_read_is_older_than_any_age(written: Mirror, kept: Kept) -> None:
    """There is no age to compare; and nothing that nobody polls is said to come soon."""
    written.account("acct_a")

    refused = await ask(kept, "/banking/accounts/acct_a/transactions?max_age=31536000")

    assert (refused.status_code, refused.json()["age_seconds"]) == (503, None)
    assert refused.headers["retry-after"] == "60"


@pytest.mark.parametrize("value", ["-1", "1.5", "soon", "", "31536001", "%2B5"])
async def test_a_garbled_parameter_is_refused(value: str, kept: Kept) -> None:
    """Somebody meant something by it."""
    refused = await ask(kept, f"/banking/accounts?max_age={value}")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "max_age")


async def test_a_settled_moment_takes_no_age(written: Mirror, kept: Kept) -> None:
    """What was known then gets no newer; a header that a library sends is no reason to refuse."""
    path = "/banking/balances?known_at=2020-01-01T00:00:00Z"
    refused = await ask(kept, f"{path}&max_age=5")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "max_age")
    assert (await ask(kept, path, cache_control="max-age=0")).status_code != 422


async def test_only_what_is_too_old_is_asked_for(written: Mirror, kept: Kept, connect: Connect) -> None:
    """Of several accounts, those whose feeds are older than that; at once, and not when the caller gives up."""
    for name in ("acct_a", "acct_b", "acct_c"):
        written.account(name)
        for feed in ("balances", "transactions"):
            written.feed(feed, name)
    written.feed("accounts")
    written.run(f"UPDATE sync.targets SET {HOUR_OLD} WHERE account_id = 'acct_b'")
    listener = await connect()
    await listener.execute("LISTEN bankmirror_demand")

    assert (await ask(kept, "/banking/balances?max_age=60")).status_code == 503

    async for note in listener.notifies(timeout=PATIENCE):
        if "max_age" in note.payload:
            assert json.loads(note.payload) == {"accounts": ["acct_b"], "max_age": 60}
            return
    raise TimeoutError("nothing was asked for")


async def test_whoever_waits_holds_no_connection(written: Mirror, kept: Kept) -> None:
    """More of them wait than there are connections, and others are answered meanwhile."""
    written.account("acct_a")
    written.feeds()
    written.run(f"UPDATE sync.targets SET {HOUR_OLD}")
    path = "/banking/accounts/acct_a/transactions"
    waiting = [asyncio.create_task(ask(kept, f"{path}?max_age=60&limit={n}", wait=10)) for n in range(1, 21)]

    async def all_wait() -> bool:
        return len(kept.news._watches) == len(waiting)

    await until(all_wait, pause=0.01)
    assert (await kept.client.get(path)).status_code == 200

    # The poll that all of them wait for.
    written.run("UPDATE sync.targets SET synced_at = now(), attempted_at = now()")
    written.run("""SELECT pg_notify('bankmirror_confirmed', '{"accounts": ["acct_a"]}')""")
    answers = await asyncio.gather(*waiting)
    assert {answer.status_code for answer in answers} == {200}


async def test_any_news_is_no_reason_to_ask_all_the_time(
    written: Mirror, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for all accounts hears of each of them, and looks twice a second."""
    written.account("acct_a")
    written.feeds()
    written.run(f"UPDATE sync.targets SET {HOUR_OLD}")
    looks = 0
    is_young = patience._is_young

    def look(*given: Any) -> bool:
        nonlocal looks
        looks += 1
        return is_young(*given)

    async def tell_all_the_time() -> None:
        while True:
            kept.news._tell(frozenset({"acct_b"}), changed=False)
            await asyncio.sleep(0.01)

    monkeypatch.setattr("readapi.patience._is_young", look)
    telling = asyncio.create_task(tell_all_the_time())
    refused = await ask(kept, "/banking/balances?max_age=60", wait=1)
    telling.cancel()

    assert refused.status_code == 503
    # Twice as many as there are in the time; without the pause, some twenty.
    assert 2 <= looks <= 2 * (1 + 1 / patience.PAUSE_OF_ALL_SECONDS)


async def test_every_question_about_now_may_say_its_age(kept: Kept) -> None:
    """A new endpoint cannot forget it. A feed of changes is read on from where it was, whatever its age."""
    for template, operations in (await kept.document())["paths"].items():
        if not template.startswith("/banking") or template.startswith("/banking/changes"):
            continue
        parameters = {parameter["name"] for parameter in operations["get"]["parameters"]}
        # What asks for two moments has none that is now.
        assert ("max_age" in parameters) != ("known_to" in parameters), template
        assert "503" in operations["get"]["responses"], template


# ── with a real ingest ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def http_bank(bank: ModelBank) -> AsyncIterator[HttpBank]:
    """A bank that is polled once an hour if nobody asks."""
    async with serve_bank(bank) as serving:
        yield serving


async def test_a_storm_of_demand_is_one_question_to_the_bank(
    bank: ModelBank, http_bank: HttpBank, mirror: Ingest, kept: Kept, database_url: str
) -> None:
    """Fifty who bear no age at all are answered with what the bank shows now, and it is hardly asked more for them."""
    bank.post("acct_a", -1)
    async with quiet_ingest(http_bank, database_url, mirror):
        await mirror.owner.execute(f"UPDATE sync.targets SET {HOUR_OLD}".encode())
        bank.post("acct_a", -2)
        before = http_bank.requests["/transactions/changes"]

        path = "/banking/accounts/acct_a/transactions"
        answers = await asyncio.gather(
            *(ask(kept, f"{path}?max_age=0&limit={number}", wait=10) for number in range(1, 51))
        )

        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["data"][0]["amount_minor"] for answer in answers} == {-2}
        assert http_bank.requests["/transactions/changes"] - before <= 5


async def test_a_poll_that_finds_nothing_new_is_what_was_waited_for(
    bank: ModelBank, http_bank: HttpBank, mirror: Ingest, kept: Kept, database_url: str
) -> None:
    """Nothing changed and nothing is notified of that; who waits is told of it, and answered at once."""
    async with quiet_ingest(http_bank, database_url, mirror):
        await mirror.owner.execute(f"UPDATE sync.targets SET {HOUR_OLD}".encode())

        answer = await ask(kept, "/banking/accounts/acct_a/transactions?max_age=5", wait=10)

        assert answer.status_code == 200
        assert int(answer.headers["age"]) <= 5 + PATIENCE
        assert answer.headers["preference-applied"] == "wait=10"
