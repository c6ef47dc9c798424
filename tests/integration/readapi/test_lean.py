"""The short way to an endpoint answers as the framework does, and is taken."""

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from readapi import app
from tests.integration.readapi.mirror import Mirror, asking

ACCOUNT = "/banking/accounts/a%20b%3Ac"
GOOD = [
    "/banking/accounts",
    "/banking/accounts?limit=1&status=open",
    ACCOUNT,
    f"{ACCOUNT}/activity",
    f"{ACCOUNT}/activity?limit=1",
    f"{ACCOUNT}/transactions?from=2020-01-01&to=2030-01-01&direction=out&min_amount_minor=1",
    f"{ACCOUNT}/transactions/tx_000001",
    f"{ACCOUNT}/balances",
    "/banking/balances",
    "/banking/cash-flow?group=month",
    "/banking/sync",
]
BAD = [
    f"{ACCOUNT}/activity?limit=x",
    f"{ACCOUNT}/activity?limit=",
    f"{ACCOUNT}/activity?limit=1&limit=2",
    f"{ACCOUNT}/activity?unknown=1",
    f"{ACCOUNT}/activity/",
    f"{ACCOUNT}/transactions?from=2030-01-01&to=2020-01-01",
    f"{ACCOUNT}/transactions?cursor=none",
    "/banking/accounts/%00/activity",
    "/banking/accounts/nobody/activity",
    "/banking/accounts//activity",
    "/banking/nothing",
]
# What differs from answer to answer, in a body and among the headers.
OWN = re.compile(r'"instance":"[^"]*"')
HEADERS = ("age", "request-id", "date", "cache-control")


@pytest.fixture
def filled(mirror: Mirror) -> Mirror:
    """An account whose id must be escaped, with a transaction and a balance."""
    mirror.account("a b:c")
    mirror.feeds()
    mirror.transaction("a b:c", transaction_id="tx_000001")
    mirror.balance("a b:c")
    mirror.refresh()
    return mirror


async def answers(database_url: str) -> dict[str, Any]:
    """Status, headers and body of every question, asked as GET and as HEAD."""
    found: dict[str, Any] = {}
    async with asking(database_url, readapi_cache_mib=0) as client:
        for path in (*GOOD, *BAD):
            for method in ("GET", "HEAD"):
                answer = await client.request(method, path)
                headers = {name: value for name, value in answer.headers.items() if name not in HEADERS}
                found[f"{method} {path}"] = (answer.status_code, headers, OWN.sub("", answer.text))
        refused = await client.post(GOOD[0])
        found["POST"] = (refused.status_code, refused.headers["allow"])
    return found


async def test_both_ways_answer_alike(filled: Mirror, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good questions and bad ones, with all headers."""
    short = await answers(database_url)
    monkeypatch.setattr(app, "Lean", lambda api: api)
    assert await answers(database_url) == short
    assert {short[f"GET {path}"][0] for path in GOOD} == {httpx.codes.OK}
    assert all(short[f"GET {path}"][0] >= 400 for path in BAD)


async def test_the_short_way_is_taken(filled: Mirror, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good questions, and an account that is not there, never reach the framework; what is not well asked does."""
    reached = []
    framework = FastAPI.__call__

    async def note(self: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            reached.append(scope["path"])
        await framework(self, scope, receive, send)  # type: ignore[arg-type]  # It is the application itself.

    monkeypatch.setattr(FastAPI, "__call__", note)
    async with asking(database_url, readapi_cache_mib=0) as client:
        for path in (*GOOD, "/banking/accounts/nobody/activity"):
            await client.get(path)
        assert reached == []
        await client.get(BAD[0])
        assert reached == ["/banking/accounts/a b:c/activity"]


async def test_a_bug_behind_it_is_told_and_raised(
    filled: Mirror, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the framework: a problem for the client, the error for the server's log."""

    async def fail(*_given: Any, **_named: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("readapi.store.list_activity", fail)
    async with asking(database_url) as client:
        answer = await client.get(f"{ACCOUNT}/activity")
        assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal")
