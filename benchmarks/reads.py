"""What an answer costs: kept in memory and not, with a token and without, beside other ways to give the same answer.

One question throughout: the 20 newest entries of one of 1,000 accounts with 1,000 transactions each. All servers are
processes of their own on the same HTTP server, read the same database, and are loaded in turn, round after round, so
that a busy moment of the machine hits all of them.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import httpx
import psutil

from bankmirror.postgres import EmbeddedPostgres
from benchmarks.applying import applying
from benchmarks.callers import make_token, mcp_call
from benchmarks.filled import account_id, fill
from benchmarks.load import Asked, Load, put_load
from benchmarks.processes import Server, free_port, serving
from benchmarks.questions import Read, describe, measure
from benchmarks.side import drop_database, fresh_database

SQLALCHEMY, BARE, ROUTE = "SQLAlchemy route", "bare ASGI, the same bytes", "FastAPI route, the same bytes"
HOT, HOT_TOKEN, UNCHANGED = "hot", "hot, with a token", "hot, 304"
COLD, COLD_TOKEN, MCP = "cold", "cold, with a token", "MCP tools/call"

OURS = [sys.executable, "-m", "bankmirror", "readapi"]
# In the path of an answer, the number of its account.
ACTIVITY = "/banking/accounts/acct_%04d/activity"
ONE = ACTIVITY % 0
# Each of its own bytes, and none of them costs much: of every account one row, for so many least amounts.
DISTINCT = "/banking/accounts/acct_%04d/transactions?limit=1&min_amount_minor=%d"


class Size(NamedTuple):
    """How much is measured. Seconds are of one load."""

    accounts: int = 1_000
    per_account: int = 1_000
    rounds: int = 5
    seconds: float = 2
    connections: int = 16
    # The same under changes, for latencies; and how many of the accounts are those that agents come back to.
    crowds: tuple[int, ...] = (1, 16, 64, 256)
    busy_accounts: int = 100
    crowd_seconds: float = 3
    changes_per_second: int = 500
    memory_seconds: float = 5
    distinct_urls: int = int(os.environ.get("BANKMIRROR_BENCH_URLS", "200000"))


class Crowd(NamedTuple):
    """A way to answer under changes, asked by so many at once."""

    way: str
    connections: int
    load: Load


class Memory(NamedTuple):
    """The read API's resident memory over so many different URLs: at the start, half way, and at the end."""

    urls: int
    bytes_at: tuple[int, int, int]


class Reads(NamedTuple):
    """What came out: of each way the load of every round, the crowds, and the memory."""

    size: Size
    rounds: dict[str, list[Load]]
    crowds: list[Crowd]
    changes_per_second: float
    memory: Memory
    # What an agent had to read; the bytes that describe the tools; and calls of a tool, one after the other.
    questions: list[Read]
    described_bytes: int
    alone: Load


class Way(NamedTuple):
    """A way to answer: who does, and what is asked."""

    server: Server
    asked: Asked


def read(server: EmbeddedPostgres, size: Size, say: Callable[[str], None]) -> Reads:
    """Fill a database, and measure everything that reads it. Raises AssertionError where an answer is none, or not the
    same everywhere.
    """
    database_url = fresh_database(server, "reads")
    say(f"reading: filling {size.accounts * size.per_account:,} transactions of {size.accounts:,} accounts")
    fill(database_url, size.accounts, size.per_account)
    with ExitStack() as servers:
        ways = start(database_url, size, servers)
        say("reading: ten questions, by tools and by lists")
        asked = measure(ways[HOT].server.url, account_id(1))
        described_bytes = describe(ways[HOT].server.url)
        alone = _alone(ways[MCP], server.pid, size)
        rounds = _side_by_side(ways, server.pid, size, say)
        say("reading: memory over different URLs")
        memory = _memory(ways[HOT].server, server.pid, size)
        say(f"reading: latencies under {size.changes_per_second} changes a second")
        crowds, changes = _crowds(ways, database_url, server.pid, size)
    drop_database(server, "reads")
    return Reads(size, rounds, crowds, changes, memory, asked, described_bytes, alone)


@contextmanager
def ours(database_url: str, environment: Mapping[str, str]) -> Iterator[Server]:
    """The read API as one process, as `bankmirror readapi` starts it."""
    port = free_port()
    told = {
        "DATABASE_URL": database_url,
        "BANKMIRROR_MODE": "sandbox",
        "BANKMIRROR_LOG_LEVEL": "warning",
        "BANKMIRROR_READAPI_PORT": str(port),
        "BANKMIRROR_READAPI_WORKERS": "1",
        # Twenty times as many may wait for one: a crowd of 256 that nothing is kept for is served, if slowly.
        "BANKMIRROR_READAPI_CONNECTIONS_MAX": "16",
    }
    with serving(OURS, port, {**told, **environment}, ready="/ready") as server:
        yield server


@contextmanager
def peer(module: str, *arguments: str) -> Iterator[Server]:
    """One of benchmarks/peers."""
    port = free_port()
    with serving([sys.executable, "-m", f"benchmarks.peers.{module}", *arguments, str(port)], port) as server:
        yield server


def start(database_url: str, size: Size, servers: ExitStack) -> dict[str, Way]:
    """All servers, started, and seen to give the same answer."""
    hot = servers.enter_context(ours(database_url, {}))
    cold = servers.enter_context(ours(database_url, {"BANKMIRROR_READAPI_CACHE_MIB": "0"}))
    sqlalchemy = servers.enter_context(peer("sqlalchemy_activity", database_url))
    bare = servers.enter_context(peer("kept_bytes", "bare", hot.url + ONE))
    route = servers.enter_context(peer("kept_bytes", "fastapi", hot.url + ONE))
    require_equal(hot, sqlalchemy, [bare, route], size)
    token = {"Authorization": f"Bearer {make_token(database_url)}"}
    etag = {"If-None-Match": httpx.get(hot.url + ONE, timeout=30).headers["etag"]}
    one, any_account = Asked(ONE), Asked(ACTIVITY, size.accounts)
    return {
        SQLALCHEMY: Way(sqlalchemy, any_account),
        BARE: Way(bare, one),
        ROUTE: Way(route, one),
        HOT: Way(hot, one),
        HOT_TOKEN: Way(hot, one._replace(headers=token)),
        UNCHANGED: Way(hot, one._replace(headers=etag)),
        COLD: Way(cold, any_account),
        COLD_TOKEN: Way(cold, any_account._replace(headers=token)),
        MCP: Way(hot, mcp_call(hot.url, account_id(0))),
    }


def require_equal(hot: Server, sqlalchemy: Server, kept: list[Server], size: Size) -> None:
    """The same entries from both, for accounts with and without a transfer under way; the same bytes from the rest."""
    for number in range(min(20, size.accounts)):
        path = ACTIVITY % number
        here, there = (httpx.get(url.url + path, timeout=30).raise_for_status().json() for url in (hot, sqlalchemy))
        shown = [_only(entry, there[0]) for entry in here]
        if not there or shown != [_only(entry, entry) for entry in there]:
            raise AssertionError(f"the answers differ: {shown[:2]} here, {there[:2]} there")
    bytes_here = httpx.get(hot.url + ONE, timeout=30).content
    if any(httpx.get(server.url + ONE, timeout=30).content != bytes_here for server in kept):
        raise AssertionError("the answers that are kept are not the ones that are given")


def _only(entry: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """The members of an entry that another one has too, with UTC written in one way."""
    return {
        name: _only(value, like[name])
        if isinstance(value, dict)
        else value.replace("+00:00", "Z").rstrip("Z").rstrip("0").rstrip(".")
        if name == "created_at"
        else value
        for name, value in entry.items()
        if name in like
    }


def _alone(way: Way, database: int, size: Size) -> Load:
    load = None
    # The first time imports what agents need, and nobody counts it.
    for seconds in (1, size.seconds):
        load = put_load(
            way.server.url, way.asked, server=way.server.pid, database=database, connections=1, seconds=seconds
        )
    assert load is not None
    return load


def _side_by_side(
    ways: Mapping[str, Way], database: int, size: Size, say: Callable[[str], None]
) -> dict[str, list[Load]]:
    rounds: dict[str, list[Load]] = {name: [] for name in ways}
    # The first round fills caches and plans statements; nobody counts it.
    for number in range(size.rounds + 1):
        for name, way in ways.items():
            load = put_load(
                way.server.url,
                way.asked,
                server=way.server.pid,
                database=database,
                connections=size.connections,
                seconds=size.seconds if number else 1,
            )
            if number:
                rounds[name].append(load)
                say(
                    f"reading: round {number} of {size.rounds}: {name}: {load.per_second:,.0f} a second, "
                    f"{load.server_cpu_micros:,.0f} µs each"
                )
    return rounds


def _crowds(ways: Mapping[str, Way], database_url: str, database: int, size: Size) -> tuple[list[Crowd], float]:
    """Latencies while the bank's changes are applied to all accounts, and so in part of answers that just ended."""
    crowds = []
    asked = {HOT: Asked(ACTIVITY, min(size.busy_accounts, size.accounts)), COLD: Asked(ACTIVITY, size.accounts)}
    with applying(database_url, size.accounts, size.changes_per_second) as applied:
        for connections in size.crowds:
            for name, question in asked.items():
                load = put_load(
                    ways[name].server.url,
                    question,
                    server=ways[name].server.pid,
                    database=database,
                    connections=connections,
                    seconds=size.crowd_seconds,
                    may_refuse=True,
                )
                crowds.append(Crowd(name, connections, load))
    return crowds, applied.per_second


def _memory(server: Server, database: int, size: Size) -> Memory:
    """Resident memory as the cache is first filled, and from then on has to let go of answers."""
    process = psutil.Process(server.pid)
    at, asked = [process.memory_info().rss], 0
    for half in (1, 2):
        while asked < half * size.distinct_urls // 2:
            load = put_load(
                server.url,
                Asked(DISTINCT, size.accounts, each_from=asked),
                server=server.pid,
                database=database,
                connections=size.connections,
                seconds=size.memory_seconds,
            )
            # Those that were still under way at its end count as asked for.
            asked += load.requests + size.connections
        at.append(process.memory_info().rss)
    return Memory(asked, (at[0], at[1], at[2]))
