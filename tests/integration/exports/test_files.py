"""Lists as files: the same rows in each form, whatever stands in them, and never half of them for the whole."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from kernel.caller import ANONYMOUS, Caller
from kernel.errors import Overloaded
from readapi import exports, listings, parquet
from tests.integration.access.giving import give, revoke
from tests.integration.changes.wire import on_the_wire
from tests.integration.readapi.conftest import client
from tests.integration.readapi.mirror import Mirror, asking
from tests.integration.readapi.process import serving
from tests.waiting import PATIENCE, until

__all__ = ["client"]

NASTY = (
    '=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1", "'=1", "\\.", "", " ", "\x01\x02",
    'a "quoted", text; and\nlines\r\n', "NULL", "\\N", "{}", "😀 ügly", "a,b",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d")
# Rows of two kilobytes.
MANY = """
INSERT INTO snapshot.transactions
SELECT 'acct_a', repeat('x', 2000) || number, 1, 'USD', 'posted', 'x', 'x', NULL, NULL, NULL, NULL, now(), current_date,
       '', now(), 1
  FROM generate_series(1, %s) AS number
"""
# Bytes that the process may grow by while it passes on twice as much.
GROWTH_MAX = 10 * 2**20
AMOUNTS = ("amount", "current", "available", "in", "out", "net")
LISTS = (
    "/banking/accounts", "/banking/balances", "/banking/cash-flow?group=month", "/banking/transactions",
    "/banking/accounts/acct_a/transactions", "/banking/accounts/acct_a/transactions?direction=in&sort=amount_minor",
)  # fmt: skip


@pytest.fixture
def mirror(database_url: str) -> Iterator[Mirror]:
    """Two accounts with transactions whose texts are meant to break a file."""
    mirror = Mirror(database_url)
    for account, currency in (("acct_a", "USD"), ("=acct_b", "JPY")):
        mirror.account(account, currency, name="=1+1")
        mirror.balance(account, 12345, currency=currency)
        for number, text in enumerate(NASTY):
            mirror.transaction(
                account,
                number - 5,
                currency=currency,
                description=text,
                counterparty_name=text or None,
                type=text or "x",
            )
        mirror.total(account, "2026-11-01", 500, -200, currency)
    mirror.feeds()
    mirror.refresh()
    yield mirror
    mirror.close()


async def as_json(client: httpx.AsyncClient, path: str) -> list[Any]:
    """The rows of a list as it is answered."""
    response = await client.get(path, params={**httpx.URL(path).params, "limit": "500"})
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    return data["periods"] if isinstance(data, dict) else list(data)


async def as_file(client: httpx.AsyncClient, path: str, form: str) -> httpx.Response:
    """The list as a file."""
    response = await client.get(path, headers={"accept": form})
    assert response.status_code == 200, response.text
    return response


async def test_json_lines_are_the_rows(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """A row on each line, member for member and in the order of the answer."""
    for path, form in product(LISTS, exports.LINES):
        response = await as_file(client, path, form)
        assert response.headers["content-type"] == form
        lines = response.text.removesuffix("\n").split("\n")
        assert [json.loads(line) for line in lines] == await as_json(client, path), path


async def test_csv_has_the_rows_typed_and_defused(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Numbers and moments as they are in JSON; text as well, but that none of it begins as a formula does."""
    for path in LISTS:
        response = await as_file(client, path, "text/csv")
        rows = list(csv.DictReader(io.StringIO(response.text, newline=""), strict=True))
        for row, members in zip(rows, await as_json(client, path), strict=True):
            flat = {**members, **(members.get("balance") or {}), **members.get("untrusted", {})}
            for name, value in row.items():
                if isinstance(flat[name], str) and name not in AMOUNTS:
                    assert not value.startswith(FORMULA), (path, name, value)
                    assert value in (flat[name], "'" + flat[name])
                else:
                    expected = " ".join(flat[name]) if isinstance(flat[name], list) else flat[name]
                    assert value == ("" if expected is None else str(expected))


async def test_the_headers_of_a_file(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """Its name, its lines by the rule, and how far it can be trusted; nobody keeps it."""
    response = await as_file(client, "/banking/balances", "text/csv")

    assert response.content.count(b"\r\n") == response.content.count(b"\n") == 3
    assert response.headers["content-disposition"] == 'attachment; filename="balances.csv"'
    assert response.headers["bankmirror-verdict"] == "fresh"
    assert response.headers["cache-control"] == "private, no-store"
    assert "Accept" in response.headers["vary"]
    shown = await client.get("/banking/balances")
    assert shown.json()["freshness"]["synced_at"] == response.headers["bankmirror-synced-at"]


async def test_the_guard_against_formulas_can_fail(mirror: Mirror) -> None:
    """The negative control: without the guard, what begins as a formula does leaves so; all else is the same."""
    listing = listings.transactions(frozenset(), "-created_at", everybody=True)
    texts = []
    with psycopg.connect(mirror.url) as owner, owner.cursor() as cursor:
        for statement in (listing.copy_csv(defused=True), listing.copy_csv(defused=False)):
            with cursor.copy(statement, {"limit": None, "account_id": None}) as copy:
                text = b"".join(bytes(row) for row in copy).decode()
            texts.append([row["description"] for row in csv.DictReader(io.StringIO(text, newline=""))])
    guarded, bare = texts

    assert sum(text.startswith(FORMULA) for text in bare) >= 2 * 5
    assert guarded == ["'" + text if text.startswith(FORMULA) else text for text in bare]


async def test_what_does_not_go_with_a_file(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """No choice of columns, no past where there is none, an unknown account, and Parquet where it is not installed."""
    for path, status in (
        ("/banking/transactions?fields=amount", 422),
        ("/banking/balances?as_of=2026-11-01T00:00:00Z", 422),
        ("/banking/cash-flow?known_at=2026-11-01T00:00:00Z", 422),
        ("/banking/accounts/acct_x/transactions", 404),
    ):
        response = await client.get(path, headers={"accept": "text/csv"})
        assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), path
    if not parquet.is_available():
        response = await client.get("/banking/balances", headers={"accept": parquet.MEDIA_TYPE})
        assert response.status_code == 406
        assert "bankmirror[arrow]" in response.json()["detail"]


async def test_as_known_at_a_moment(mirror: Mirror, client: httpx.AsyncClient) -> None:
    """A file of what was known then, which a later change does not touch."""
    mirror.run("SELECT sync.move_clock()")
    ((moment,),) = mirror.run("SELECT (mark - interval '1 us')::text FROM sync.clock")
    path = f"/banking/accounts/acct_a/transactions?known_at={moment.replace(' ', 'T').replace('+00', 'Z')}"
    before = await as_file(client, path, "application/jsonl")
    mirror.transaction("acct_a", 1)
    after = await as_file(client, path, "application/jsonl")
    assert before.content == after.content
    assert len(before.text.splitlines()) >= len(NASTY)


async def test_a_moment_that_is_just_past_is_waited_for(
    mirror: Mirror, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for JSON: until ingest moves its mark, which a snapshot that was taken before would never see."""
    ((moment,),) = mirror.run("SELECT clock_timestamp()::text")
    looks = 0

    async def between_two_looks(_: float) -> None:
        nonlocal looks
        looks += 1
        mirror.run("SELECT sync.move_clock()")

    waiting = SimpleNamespace(get_running_loop=asyncio.get_running_loop, sleep=between_two_looks)
    monkeypatch.setattr("readapi.moments.asyncio", waiting)
    path = f"/banking/accounts/acct_a/transactions?known_at={moment.replace(' ', 'T').replace('+00', 'Z')}"
    assert len((await as_file(client, path, "application/jsonl")).text.splitlines()) >= len(NASTY)
    assert looks == 1


async def test_a_reader_sees_its_accounts_in_a_file(mirror: Mirror, database_url: str) -> None:
    """On a connection of its own, the same sight as everywhere; and no memo without the scope for it."""
    given = await give(database_url, "read", accounts=["acct_a"])
    async with asking(database_url) as client:
        response = await client.get("/banking/transactions", headers={**given.headers, "accept": "application/jsonl"})
        rows = [json.loads(line) for line in response.text.splitlines()]
    assert {row["account_id"] for row in rows} == {"acct_a"}
    assert {row["untrusted"]["description"] for row in rows} == {None}


async def test_a_file_that_cannot_be_finished_is_broken_off(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error amid the rows: the client sees that there is no proper end, and a place is free again."""
    mirror.run("UPDATE snapshot.transactions SET amount_minor = 7 WHERE transaction_id = 'tx_000001'")
    listing = listings.BALANCES
    broken = listing.rows.replace("balance.available,", "balance.available / (balance.current_minor - 12345),")
    assert broken != listing.rows
    monkeypatch.setattr(
        "readapi.listings.BALANCES", listings.Listing(listing.name, listing.columns, broken, listing.lines)
    )
    mirror.run("UPDATE snapshot.balances SET available_minor = 1")
    async with on_the_wire(mirror.url) as wire:
        for _ in range(exports.EXPORTS_MAX + 1):
            with pytest.raises(httpx.RemoteProtocolError):
                await wire.client.get("/banking/balances", headers={"accept": "text/csv"})
        assert (await wire.client.get("/banking/accounts", headers={"accept": "text/csv"})).status_code == 200


async def take(pieces: AsyncIterator[bytes], sizes: list[int]) -> None:
    """Take what comes, and note how much."""
    async for piece in pieces:
        sizes += [len(piece)]


async def test_whoever_may_have_no_more_gets_no_more(mirror: Mirror) -> None:
    """A token that is revoked, or has used up its bytes, amid the rows: what is left is not sent, and that shows."""
    mirror.run(MANY, 10_000)
    path = "/banking/accounts/acct_a/transactions"
    async with on_the_wire(mirror.url) as wire:
        for bytes_per_day in (10**9, 10**6):
            given = await give(mirror.url, "read", bytes_per_day=bytes_per_day)
            headers = {**given.headers, "accept": "application/x-ndjson"}
            received: list[int] = []
            async with wire.client.stream("GET", path, headers=headers) as response:
                assert response.status_code == 200
                pieces = response.aiter_raw()
                received.append(len(await anext(pieces)))
                if bytes_per_day == 10**9:
                    await revoke(mirror.url, given)

                    async def is_refused(headers: dict[str, str] = given.headers) -> bool:
                        return (await wire.client.get("/banking/accounts", headers=headers)).status_code == 401

                    await until(is_refused)
                with pytest.raises(httpx.RemoteProtocolError):
                    await take(pieces, received)
            assert sum(received) < min(bytes_per_day + 2 * exports.PIECE_BYTES, 20_000_000)


@pytest.mark.parametrize(
    ("token_id", "most"), [("Ab3dE9fG", exports.EXPORTS_OF_A_TOKEN_MAX), (None, exports.EXPORTS_MAX)]
)
async def test_there_are_so_many(token_id: str | None, most: int) -> None:
    """One more is refused, for the token or for the process; another token has its place, and one that ended makes
    room.
    """
    places = exports.Exports("postgresql://")
    caller = Caller(token_id, "test", ANONYMOUS.scopes)
    with ExitStack() as others:
        for _ in range(most - 1):
            others.enter_context(places.one(caller))
        with places.one(caller):
            with pytest.raises(Overloaded), places.one(caller):
                pass
            if token_id is not None:
                with places.one(replace(caller, token_id="another1")):
                    pass
        with places.one(caller):
            pass


async def test_one_who_leaves_ends_the_query(mirror: Mirror) -> None:
    """And as many as there are places may wait in the middle of a file; the next one is told to come again."""
    mirror.run(MANY, 5_000)
    running = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name = 'bankmirror export' AND datname = current_database()"
    )
    asked = {"accept": "application/x-ndjson"}
    path = "/banking/accounts/acct_a/transactions"
    async with on_the_wire(mirror.url) as wire:
        opened = []
        for _ in range(exports.EXPORTS_MAX):
            response = await wire.client.send(wire.client.build_request("GET", path, headers=asked), stream=True)
            assert response.status_code == 200
            opened.append(response)
        refused = await wire.client.get(path, headers=asked)
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
        assert "retry-after" in refused.headers
        assert (await wire.client.get(path)).status_code == 200
        assert mirror.run(running) == [(exports.EXPORTS_MAX,)]
        for response in opened:
            await response.aclose()

        async def is_over() -> bool:
            return mirror.run(running) == [(0,)]

        await until(is_over)
        assert (await wire.client.get(f"{path}?limit=1", headers=asked)).text.count("\n") == 1


async def test_memory_stays_as_it_is(mirror: Mirror) -> None:
    """Twenty megabytes pass through, and are nowhere on the way. A million rows: `python -m benchmarks.exports`."""
    mirror.run(MANY, 10_000)
    with serving(mirror.url) as served:
        process = psutil.Process(served.process.pid)
        async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE, trust_env=False) as client:
            for form in ("text/csv", "application/x-ndjson"):
                path = "/banking/accounts/acct_a/transactions"
                await client.get(f"{path}?limit=1", headers={"accept": form})
                before = most = process.memory_info().rss
                passed = 0
                async with client.stream("GET", path, headers={"accept": form}) as response:
                    async for piece in response.aiter_raw():
                        passed += len(piece)
                        most = max(most, process.memory_info().rss)
                assert passed > 20_000_000
                assert most - before < GROWTH_MAX, f"{form}: {(most - before) / 2**20:.1f} MiB"
