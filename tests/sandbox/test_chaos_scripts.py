"""The admin routes, the dice, and what chaos must never do: touch the books, or an answer when it is off."""

from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import ValidationError

from sandbox.chaos import catalogue, dice, events
from sandbox.chaos.acts import READS, Call
from sandbox.chaos.catalogue import FAULTS, USUAL, WRITES
from sandbox.chaos.dealer import Chaos
from sandbox.settings import Settings
from tests.sandbox.conftest import StartBank

PAGE = Path("docs/reference/chaos.md")
# They take their time by design, or want a connection to break.
SLOW = {"hang", "slow-trickle", "gzip-bomb"}
BROKEN = {"connection-closed", "connection-reset", "truncated-body", "hang"}
REQUESTS = (
    "/accounts?limit=3", "/balances", "/transactions?limit=5", "/transactions?account_id=acct_123&limit=9",
    "/transactions/changes?limit=50", "/accounts/acct_123", "/accounts/acct_456/balance",
)  # fmt: skip


def test_chance_is_the_seeds() -> None:
    """The same seed, number and names give the same faults in the same order; any other gives others."""
    names = sorted(USUAL)
    struck = [dice.strike(7, number, 0.5, names)[0] for number in range(200)]

    assert struck == [dice.strike(7, number, 0.5, list(reversed(names)))[0] for number in range(200)]
    assert struck != [dice.strike(8, number, 0.5, names)[0] for number in range(200)]
    assert len({order[0] for order in struck if order}) > 30


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0])
def test_the_rate_is_the_share_of_requests(rate: float) -> None:
    """Of ten thousand requests, about so many; of none or all, exactly."""
    struck = sum(bool(dice.strike(1, number, rate, ["a", "b"])[0]) for number in range(10_000))

    assert struck == rate * 10_000 or (0 < rate < 1 and abs(struck - rate * 10_000) < 150)


def test_a_request_draws_for_itself() -> None:
    """What one request could meet does not move what the next one meets."""
    one, other = Chaos(0.5, 3), Chaos(0.5, 3)
    met: dict[int, list[str]] = {}
    for number, chaos in enumerate((one, other)):
        list(chaos.deal(Call("accounts") if number == 0 else Call("changes", page=4)))
        met[number] = [fault.name for fault, _, _ in chaos.deal(Call("balances"))]

    assert met[0] == met[1]


async def test_the_same_requests_meet_the_same_faults(bank_url: str, start_bank: StartBank) -> None:
    """Two banks with one seed break the same answers in the same way, another seed breaks others."""
    names = ",".join(sorted(USUAL - WRITES - SLOW - BROKEN))
    met = []
    for seed in (5, 5, 6):
        async with start_bank(bank_url, chaos=0.5, chaos_seed=seed, chaos_faults=names) as client:
            statuses = [(await client.get(path)).status_code for path in REQUESTS * 4]
            met.append((statuses, (await client.get("/_chaos")).json()["done"]))

    assert met[0] == met[1] != met[2]
    assert sum(met[0][1].values()) > 5


async def tables(url: str) -> dict[str, list[Any]]:
    """Everything in the books but the clock."""
    async with await psycopg.AsyncConnection.connect(url) as conn:
        cursor = await conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'bank' ORDER BY 1")
        names = [row[0] for row in await cursor.fetchall()]
        books = {}
        for name in names:
            hidden = " - 'bank_time'" if name == "ledger" else ""
            cursor = await conn.execute(f"SELECT to_jsonb(t){hidden} FROM bank.{name} AS t ORDER BY 1".encode())
            books[name] = [row[0] for row in await cursor.fetchall()]
    return books


async def test_faults_never_touch_the_books(bank_url: str, start_bank: StartBank) -> None:
    """A hundred and forty requests, each of which meets a fault: every table is afterwards what it was before."""
    names = ",".join(sorted(set(FAULTS) - WRITES - SLOW - BROKEN))
    async with start_bank(bank_url, chaos=1.0, chaos_faults=names) as client:
        before = await tables(bank_url)
        for path in REQUESTS * 20:
            await client.get(path)
        state = (await client.get("/_chaos")).json()

        assert await tables(bank_url) == before
    assert sum(state["done"].values()) == 140
    assert len(state["done"]) > 40


async def test_off_is_untouched(bank_url: str, start_bank: StartBank) -> None:
    """Without chaos, with it armed for others, and after it: the same bytes and the same headers."""
    answers = []
    async with start_bank(bank_url) as client:
        paths = [path for path in REQUESTS if "balance" not in path]  # A balance carries the bank's clock.
        answers.append([await client.get(path) for path in paths])
        assert (await client.get("/_chaos")).json()["requests"] == 0
        await client.post("/_chaos", json={"fault": "html", "account_id": "acct_nobody", "times": None})
        answers.append([await client.get(path) for path in paths])
        assert (await client.get("/_chaos")).json()["requests"] == len(paths)
        await client.delete("/_chaos")
        answers.append([await client.get(path) for path in paths])
        assert (await client.get("/_chaos")).json()["requests"] == len(paths)

    seen = [[(a.status_code, sorted(a.headers.items()), a.content) for a in round_] for round_ in answers]
    assert seen[0] == seen[1] == seen[2]


async def test_scripts_queue_up(client: httpx.AsyncClient) -> None:
    """First come, first done, each for its route and account, after so many and so many times; counted."""
    await client.post("/_chaos", json={"fault": "error-500", "route": "balances", "times": 2})
    await client.post("/_chaos", json={"fault": "error-503", "account_id": "acct_456", "after": 1})
    await client.post("/_chaos", json={"fault": "error-504", "times": None})
    queue = (await client.get("/_chaos")).json()["queue"]
    assert [(each["fault"], each["left"]) for each in queue] == [
        ("error-500", 2),
        ("error-503", 1),
        ("error-504", None),
    ]

    async def status(path: str) -> int:
        return (await client.get(path)).status_code

    assert [await status("/balances") for _ in range(3)] == [500, 500, 504]
    assert [await status("/accounts/acct_456") for _ in range(3)] == [504, 503, 504]
    assert await status("/health") == 200

    before = (await client.get("/_chaos")).json()
    after = (await client.delete("/_chaos")).json()
    assert (before["done"]["error-500"], before["done"]["error-503"]) == (2, 1)
    assert (len(before["queue"]), after["queue"]) == (1, [])
    assert await status("/balances") == 200


async def test_rates_at_run_time(client: httpx.AsyncClient) -> None:
    """PUT changes what is given and nothing else; DELETE switches it off."""
    told = (await client.put("/_chaos", json={"rate": 1.0, "seed": 9, "faults": ["error-502"]})).json()
    assert (told["rate"], told["seed"], told["faults"], told["requests"]) == (1.0, 9, ["error-502"], 0)
    assert (await client.get("/accounts")).status_code == 502
    assert (await client.put("/_chaos", json={"writes": True})).json()["rate"] == 1.0
    assert (await client.delete("/_chaos")).json()["rate"] == 0
    assert (await client.get("/accounts")).status_code == 200
    await client.put("/_chaos", json={"writes": False, "faults": []})


async def test_payments_are_asked_for_twice(client: httpx.AsyncClient) -> None:
    """A rate alone never breaks a payment."""
    order = {
        "source_account_id": "acct_123",
        "destination_account_id": "acct_456",
        "amount_cents": 1,
        "type": "transfer",
    }
    await client.put("/_chaos", json={"rate": 1.0})
    quiet = await client.post("/transactions", json=order, headers={"Idempotency-Key": "quiet"})
    await client.put("/_chaos", json={"writes": True, "faults": ["pay-503-before"]})
    broken = await client.post("/transactions", json=order, headers={"Idempotency-Key": "broken"})
    await client.delete("/_chaos")
    await client.put("/_chaos", json={"writes": False, "faults": []})

    assert (quiet.status_code, broken.status_code) == (201, 503)


async def test_what_is_wrong_with_a_script(client: httpx.AsyncClient) -> None:
    """A problem document that points at it; nothing is queued."""
    wrong: list[tuple[str, str, dict[str, Any], str]] = [
        ("POST", "/_chaos", {"fault": "no-such"}, "/fault"),
        ("POST", "/_chaos", {"fault": "row-twice", "route": "balances"}, "/route"),
        ("POST", "/_chaos", {"fault": "row-twice", "page": 1}, "/page"),
        ("POST", "/_chaos", {"fault": "html", "times": 0}, "/times"),
        ("POST", "/_chaos", {"fault": "html", "seconds": -1}, "/seconds"),
        ("POST", "/_chaos", {"fault": "redirect", "location": "http://x/\r\nSet-Cookie: a"}, "/location"),
        ("POST", "/_chaos", {}, "/fault"),
        ("PUT", "/_chaos", {"rate": 1.5}, "/rate"),
        ("PUT", "/_chaos", {"faults": ["no-such"]}, "/faults"),
        ("POST", "/_chaos/events", {"event": "no-such"}, "/event"),
        ("POST", "/_chaos/events", {"event": "twins", "count": 1}, "/count"),
        ("POST", "/_chaos/events", {"event": "twins", "surprise": 1}, "/surprise"),
    ]
    for method, path, body, pointer in wrong:
        response = await client.request(method, path, json=body)

        assert response.status_code == 422, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["errors"][0]["pointer"] == pointer
    assert (await client.get("/_chaos")).json()["queue"] == []


async def test_only_with_the_key(client: httpx.AsyncClient) -> None:
    """Chaos is behind the door like everything else."""
    for method, path in (("GET", "/_chaos"), ("POST", "/_chaos"), ("PUT", "/_chaos"), ("DELETE", "/_chaos"),
                         ("POST", "/_chaos/events")):  # fmt: skip
        assert (await client.request(method, path, headers={"Authorization": "Bearer wrong"})).status_code == 401


def test_settings_know_the_names() -> None:
    """A name that is none is refused before anything starts; none at all are the usual ones."""
    with pytest.raises(ValidationError, match="no-such"):
        Settings(chaos_faults="html,no-such")
    assert catalogue.read_names(Settings(chaos_faults="html, error-500").chaos_faults) == {"html", "error-500"}
    assert catalogue.read_names("") == USUAL


def test_the_usual_faults_let_a_client_live() -> None:
    """What by chance would stop a client for long, or lie without a trace, is only done when asked for by name."""
    assert not USUAL & {"throttled-week", "unauthorized", "account-gone", "cursor-endless", "row-under-two-ids"}
    assert len(USUAL) > 50


def test_every_bank_side_case_has_a_fault() -> None:
    """B1 to B13 and X1 to X14 are each met by a fault or by an event."""
    met = Counter(name for fault in FAULTS.values() for name in fault.ids.split())
    met += Counter(name for event in events.EVENTS.values() for name in event.ids.split())

    assert {f"B{n}" for n in range(1, 14)} | {f"X{n}" for n in range(1, 15)} <= set(met)


def test_the_page_is_the_catalogue() -> None:
    """docs/reference/chaos.md has each fault and each event with what the code says of it, and no other."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if line.startswith("| `") and line.count("|") == 6}
    expected = set()
    for fault in FAULTS.values():
        routes = "all reads" if fault.routes == READS else ", ".join(sorted(fault.routes))
        by_chance = "yes" if fault.usual else "by name"
        expected.add(f"| `{fault.name}` | {fault.ids} | {fault.about} | {routes} | {by_chance} |")
    for event in events.EVENTS.values():
        expected.add(f"| `{event.name}` | {event.ids} | {event.about} | | {event.weight or 'when asked'} |")

    assert listed == expected
