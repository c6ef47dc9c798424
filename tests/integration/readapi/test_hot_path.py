"""Answers from memory: as quick as bytes, and never from before a change that the process could know of."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from kernel import tokens
from kernel.access import Door
from readapi.entry import ACCEPT_BYTES
from readapi.hot import Fill
from tests.integration.readapi.kept import Kept, commit, keeping
from tests.integration.readapi.mirror import Mirror
from tests.waiting import until

PATH = "/banking/accounts/acct_1/activity"
OTHER = "/banking/accounts/acct_2/activity"
NAMED = "/banking/accounts/acct_1"
RENAME = "UPDATE snapshot.accounts SET name = %s WHERE account_id = 'acct_1'"
TERMINATE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = %s AND application_name = 'bankmirror readapi'
"""


@pytest.fixture
async def kept(mirror: Mirror) -> AsyncIterator[Kept]:
    """Two accounts, all fresh, and a read API in front of them."""
    for account_id in ("acct_1", "acct_2"):
        mirror.balance(mirror.account(account_id, name="before"))
        mirror.transaction(account_id)
    mirror.feeds()
    async with keeping(mirror.url) as kept:
        yield kept


async def name_of(kept: Kept) -> str:
    """The name of the account in an answer."""
    name: str = (await kept.get(NAMED)).json()["data"]["name"]
    return name


async def change(mirror: Mirror, kept: Kept, accounts: list[str] | None = None, name: str = "after") -> None:
    """Give the account another name, and wait until the process has heard of it."""
    before = kept.hot.invalidations
    await asyncio.to_thread(commit, mirror.url, accounts or ["acct_1"], RENAME, name)
    await kept.heard(before + 1)


async def test_a_hit_does_not_ask_the_database(mirror: Mirror, kept: Kept) -> None:
    """The same bytes, with an id of its own and the age of the moment; the tables may be locked meanwhile."""
    first = await kept.get(PATH)
    with psycopg.connect(mirror.url) as migration:
        migration.execute("LOCK TABLE snapshot.transactions, snapshot.accounts")
        second = await kept.get(PATH)

    assert (first.status_code, second.status_code, kept.asked, kept.hot.hits) == (200, 200, 1, 1)
    assert second.content == first.content
    assert int(second.headers["age"]) >= int(first.headers["age"])
    moving = {"age", "cache-control", "request-id"}
    assert set(first.headers) == set(second.headers)
    assert all(first.headers[name] == second.headers[name] for name in set(first.headers) - moving)
    assert first.headers["request-id"] != second.headers["request-id"]
    assert first.headers["vary"] == "Accept, Authorization"


async def test_without_a_token_only_for_this_machine(kept: Kept) -> None:
    """Neither from memory nor from the database: a page may have had its own name lead here. What is open is open."""
    for _ in range(2):
        for led_here in ({"Host": "bank.example"}, {"Origin": "https://bank.example"}):
            answer = await kept.get(PATH, **led_here)
            assert (answer.status_code, answer.json()["type"]) == (421, "/problems/host-refused")
            assert (await kept.get("/health", **led_here)).status_code == 200
        # Kept from here on.
        assert (await kept.get(PATH)).status_code == 200
    assert (kept.asked, kept.hot.hits) == (5, 1)


async def test_a_change_is_in_the_next_answer(mirror: Mirror, kept: Kept) -> None:
    """Only of its account: the neighbour's answer stays."""
    assert await name_of(kept) == "before"
    await kept.get(OTHER)
    await change(mirror, kept)

    assert await name_of(kept) == "after"
    asked = kept.asked
    await kept.get(OTHER)
    assert kept.asked == asked


async def test_what_is_not_kept(kept: Kept) -> None:
    """Refusals, what is not there, other methods, and the process's own pages."""
    for path in ("/banking/accounts/absent", "/banking/accounts?limit=0", "/nothing", "/health", "/metrics", "/ready"):
        await kept.get(path)
    await kept.client.post(PATH)
    assert (len(kept.hot), kept.hot.bytes) == (0, 0)


async def test_a_long_accept_is_neither_kept_nor_shared(kept: Kept) -> None:
    """One that nobody sends but to fill the memory; a browser's, of a hundred bytes or so, is kept."""
    longest = "application/json;a=".ljust(ACCEPT_BYTES, "0")
    for accept, given_again in ((longest, 1), (f"{longest}0", 0)):
        hits = kept.hot.hits
        answers = [await kept.get(PATH, accept=accept) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert kept.hot.hits - hits == given_again
    assert len(kept.hot) == 1
    begun = kept.hot.begun
    await kept.get(OTHER, accept=f"{longest}0")
    assert kept.hot.begun == begun


async def test_a_form_that_is_not_there_is_refused(kept: Kept) -> None:
    """406 wherever there is JSON alone; what takes anything, as a browser does, takes JSON."""
    for path in (NAMED, PATH, "/banking/cash-position", "/banking/sync", "/banking/changes"):
        assert (await kept.get(path)).headers["content-type"] == "application/json"
        for accept in ("image/png", "text/csv"):
            refused = await kept.get(path, accept=accept)
            assert (refused.status_code, refused.json()["type"]) == (406, "/problems/not-acceptable"), path
        browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        assert (await kept.get(path, accept=browser)).status_code == 200


@pytest.mark.parametrize("guarded", [True, False])
async def test_no_fill_from_before_a_change(
    mirror: Mirror, kept: Kept, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    """Read before the commit, done after the invalidation: given to who asked, and not kept. Without the guard, which
    is the negative control, everybody would get it from then on.
    """
    if not guarded:
        monkeypatch.setattr(Fill, "hear", lambda *_: None)
    kept.may_answer.clear()
    slow = asyncio.create_task(name_of(kept))
    await kept.waiting.acquire()
    await change(mirror, kept)
    kept.may_answer.set()

    assert await slow == "before"
    assert await name_of(kept) == ("after" if guarded else "before")
    assert kept.hot.spoiled_fills == guarded


async def test_equal_questions_are_asked_once(mirror: Mirror, kept: Kept) -> None:
    """Who comes while it is asked waits for that answer; who comes after a change does not take one from before."""
    kept.may_answer.clear()
    early = [asyncio.create_task(name_of(kept)) for _ in range(20)]
    await kept.waiting.acquire()
    await change(mirror, kept)
    late = [asyncio.create_task(name_of(kept)) for _ in range(20)]
    await kept.waiting.acquire()
    kept.may_answer.set()
    names = await asyncio.gather(*early, *late)

    assert names[0] == "before"
    # Those that waited for the first answer came before the change, and still do not get what is known to be old.
    assert names[1:] == ["after"] * 39
    assert kept.asked <= 3
    assert kept.hot.joins + kept.hot.hits + kept.asked == 40


async def test_a_refusal_is_not_shared(kept: Kept) -> None:
    """Each who asks for what is not there gets an answer of his own, with its own id."""
    kept.may_answer.clear()
    asking = [asyncio.create_task(kept.get("/banking/accounts/absent")) for _ in range(3)]
    await kept.waiting.acquire()
    kept.may_answer.set()
    answers = await asyncio.gather(*asking)

    assert [answer.status_code for answer in answers] == [404] * 3
    assert len({answer.json()["instance"] for answer in answers}) == 3


async def test_nothing_is_given_while_the_database_is_not_heard(mirror: Mirror, kept: Kept, server_url: str) -> None:
    """The connection is cut and cannot be made again: no answer rather than one that nobody vouches for."""
    assert (await kept.get(PATH)).status_code == (await kept.get(PATH)).status_code == 200
    assert kept.hot.hits == 1
    name, before = urlsplit(mirror.url).path[1:], kept.hot.invalidations

    def allow(connections: bool) -> None:
        with psycopg.connect(server_url, autocommit=True) as administrator:
            allowed = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            administrator.execute(allowed.format(sql.Identifier(name), sql.Literal(connections)))
            administrator.execute(TERMINATE, [name])

    await asyncio.to_thread(allow, connections=False)
    try:
        await kept.heard(before + 1)
        assert (len(kept.hot), kept.hot.bytes) == (0, 0)
        assert (await kept.get(PATH)).status_code == 503
    finally:
        await asyncio.to_thread(allow, connections=True)

    async def kept_again() -> bool:
        hits = kept.hot.hits
        return (await kept.get(PATH)).status_code == 200 and kept.hot.hits > hits

    await until(kept_again)


@pytest.mark.parametrize("guarded", [True, False])
async def test_no_answer_for_who_may_see_less(mirror: Mirror, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """What one token was answered is kept for those who see the same. With the scope left out of the key, which is the
    negative control, a token would be given another one's accounts.
    """
    for account_id in ("acct_1", "acct_2"):
        mirror.balance(mirror.account(account_id))
    mirror.feeds()
    if not guarded:
        monkeypatch.setattr(Door, "_scope_key", lambda *_: 0)
    bearers = {}
    for name, accounts in {"all": None, "one": ["acct_1"], "same": ["acct_1"]}.items():
        made = tokens.make("test")
        mirror.run(
            "INSERT INTO access.tokens (token_id, principal, name, environment, digest, scopes, accounts)"
            "VALUES (%s, %s, %s, 'test', %s, '{read}', %s)",
            made.token_id, made.token_id, name, tokens.digest(made.text), accounts,
        )  # fmt: skip
        bearers[name] = f"Bearer {made.text}"

    async with keeping(mirror.url, api_token="t" * 40) as kept:
        seen = {}
        for name, bearer in bearers.items():
            answer = (await kept.get("/banking/accounts", authorization=bearer)).json()
            seen[name] = [account["account_id"] for account in answer["data"]]
        nobody = await kept.get("/banking/accounts")

    assert nobody.status_code == 401
    assert seen["all"] == ["acct_1", "acct_2"]
    assert seen["one"] == seen["same"] == (["acct_1"] if guarded else ["acct_1", "acct_2"])
    assert kept.asked == (2 if guarded else 1)


@pytest.mark.parametrize("path", [PATH, NAMED])
async def test_not_modified(mirror: Mirror, kept: Kept, path: str) -> None:
    """Who has the answer is told so, from memory and from the database, with how fresh his copy is now."""
    first = await kept.get(path)
    etag = first.headers["etag"]
    for sent in (etag, f'"other", {etag}', "*", etag.removeprefix("W/")):
        answer = await kept.get(path, if_none_match=sent)
        assert (answer.status_code, answer.content) == (304, b""), sent
        assert answer.headers["etag"] == etag
        assert {"age", "cache-control", "vary", "request-id"} <= set(answer.headers)
        assert {"bankmirror-verdict", "bankmirror-synced-at", "bankmirror-fresh-until"} <= set(answer.headers)
    kept.edge.forget()
    assert (await kept.get(path, if_none_match=etag)).status_code == 304
    assert (await kept.get(path, if_none_match='"other"')).content == first.content
    mirror.transaction("acct_1")
    await change(mirror, kept)
    changed = await kept.get(path, if_none_match=etag)
    assert (changed.status_code, changed.headers["etag"] == etag) == (200, False)


async def test_head(kept: Kept) -> None:
    """The headers of GET without its body, whichever came first."""
    first = await kept.client.head(PATH)
    whole = await kept.get(PATH)
    again = await kept.client.head(PATH)

    assert (first.content, again.content) == (b"", b"")
    assert kept.asked == 1
    for head in (first, again):
        assert head.headers["content-length"] == str(len(whole.content))
        assert head.headers["etag"] == whole.headers["etag"]


async def test_how_old_it_may_be(mirror: Mirror, kept: Kept) -> None:
    """Cache-Control: max-age=N is content with a copy of that age; no-cache asks, no-store leaves nothing behind."""
    await kept.get(PATH, cache_control="no-store")
    assert len(kept.hot) == 0
    await kept.get(PATH)
    await kept.get(PATH, cache_control="max-age=3600")
    await kept.get(PATH, prefer="wait=1")
    assert (kept.asked, kept.hot.hits) == (2, 2)
    await kept.get(PATH, cache_control="no-cache")
    assert kept.asked == 3


async def test_an_answer_that_is_not_fresh_is_kept_for_a_moment_only(mirror: Mirror) -> None:
    """A second, so that whatever mends it is seen at once, even if nothing is heard of it."""
    mirror.account("acct_1")
    mirror.feed("transactions", fresh_until=datetime.now(UTC) - timedelta(seconds=5))
    async with keeping(mirror.url) as kept:
        answer = await kept.get("/banking/accounts/acct_1/transactions")
        (entry,) = kept.hot._entries.values()

    assert answer.json()["freshness"]["verdict"] == "stale"
    assert answer.headers["cache-control"] == "private, max-age=0"
    assert entry.until - entry.began == pytest.approx(1.0)


async def test_without_memory(mirror: Mirror) -> None:
    """Turned off, each answer comes from the database, and says the same."""
    mirror.account("acct_1")
    mirror.feeds()
    async with keeping(mirror.url, readapi_cache_mib=0) as kept:
        first, second = await kept.get(PATH), await kept.get(PATH)
        unchanged = await kept.get(PATH, if_none_match=first.headers["etag"])

    assert first.content == second.content
    assert unchanged.status_code == 304
    assert (kept.asked, kept.hot.hits, len(kept.hot)) == (3, 0, 0)


async def test_metrics(mirror: Mirror, kept: Kept) -> None:
    """Answers from memory are counted as requests, and by themselves."""
    etag = (await kept.get(PATH)).headers["etag"]
    await kept.get(PATH)
    await kept.get(PATH, if_none_match=etag)
    await kept.client.head(PATH)
    told = (await kept.get("/metrics")).text

    route = "/banking/accounts/{account_id}/activity"
    for line in (
        f'bankmirror_http_requests_total{{method="GET",route="{route}",status="200"}} 2.0',
        f'bankmirror_http_requests_total{{method="GET",route="{route}",status="304"}} 1.0',
        f'bankmirror_http_requests_total{{method="HEAD",route="{route}",status="200"}} 1.0',
        f'bankmirror_http_request_seconds_count{{route="{route}"}} 1.0',
        "bankmirror_memory_hits_total 3.0",
        "bankmirror_memory_not_modified_total 1.0",
        "bankmirror_memory_misses_total 1.0",
        "bankmirror_memory_entries 1.0",
        "bankmirror_receipts_lost_total 0.0",
    ):
        assert f"\n{line}\n" in told, line
