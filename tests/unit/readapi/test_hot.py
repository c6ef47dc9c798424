"""What is kept in memory: how much of it, for how long, and what an invalidation does to what is being asked."""

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from copy import copy
from typing import Any

import pytest

from readapi.answers import Keep
from readapi.conditions import is_private, is_unchanged, most_age, most_age_asked
from readapi.entry import OVERHEAD_BYTES, Entry, Key, RouteCount
from readapi.hot import Fill, Hot

FOR_EVER = float("inf")
COUNT = RouteCount()


class Heard:
    """A connection that is heard until a moment."""

    def __init__(self, trusted_until: float = FOR_EVER) -> None:
        self.trusted_until = trusted_until


def key_of(path: str, scope_key: int = 0) -> Key:
    return (scope_key, path.encode(), b"", None)


def made(key: Key, began: float = 0.0, body: bytes = b"{}", most_age: int | None = None, **given: Any) -> Entry:
    """An answer that is fresh for half a minute, of account `a`."""
    keep = Keep(**{"accounts": frozenset({"a"}), "age_seconds": 5, "fresh_seconds": 30, "etag": b'W/"1"',
                   "version": "1", "settled": False, **given})  # fmt: skip
    return Entry(key, keep, began, [(b"content-type", b"application/json")], body, COUNT, most_age)


def put(hot: Hot, path: str, now: float = 0.0, account_id: str | None = None, **given: Any) -> Entry:
    """Ask and keep the answer."""
    entry = made(key_of(path), now, **given)
    with hot.filling(entry.key, account_id, now) as fill:
        hot.keep(fill, entry)
    return entry


def make_hot(bytes_max: int = 1 << 30, trusted_until: float = FOR_EVER) -> Hot:
    return Hot(Heard(trusted_until), bytes_max)


def test_an_answer_is_given_again_while_it_is_fresh() -> None:
    """Counted from before its question, and a little less, since the database rounds."""
    hot = make_hot()
    entry = put(hot, "/x", now=100.0)

    assert hot.find(entry.key, 129.4) is entry
    assert hot.find(entry.key, 129.6) is None
    assert (len(hot), hot.bytes, hot.accounts_indexed) == (0, 0, 0)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"fresh_seconds": 86_400}, 60.0),
        ({"fresh_seconds": 1}, 0.5),
        ({"fresh_seconds": -1}, 1.0),
        ({"fresh_seconds": -3600}, 1.0),
        ({"fresh_seconds": None, "age_seconds": None}, 1.0),
        ({"settled": True, "fresh_seconds": None, "age_seconds": None}, 60.0),
        ({"most_age": 9}, 4.0),
        ({"most_age": 9, "fresh_seconds": 3}, 2.5),
    ],
)
def test_how_long(given: dict[str, Any], seconds: float) -> None:
    """Never more than a minute, a second where it is not fresh, and no older than the query allows."""
    assert made(key_of("/x"), 100.0, **given).until == 100.0 + seconds


@pytest.mark.parametrize(
    "given", [{"most_age": 5}, {"most_age": 0}, {"most_age": 3600, "age_seconds": None}, {"fresh_seconds": 0}]
)
def test_what_is_too_old_at_once_is_not_kept(given: dict[str, Any]) -> None:
    """An age that the query allows is used up, or there is none; or it is fresh for less than half a second more."""
    hot = make_hot()
    put(hot, "/x", **given)
    assert len(hot) == 0


def test_silence_that_is_not_trusted() -> None:
    """While the database is not heard nothing is given, and nothing kept; what was kept is not lost by a late beat."""
    trust = Heard(100.0)
    hot = Hot(trust, 1 << 30)
    entry = put(hot, "/x", now=90.0)
    put(hot, "/y", now=100.1)

    assert hot.find(entry.key, 100.0) is entry
    assert hot.find(entry.key, 100.1) is None
    trust.trusted_until = 110.0
    assert hot.find(entry.key, 100.1) is entry
    assert hot.find(key_of("/y"), 100.1) is None


@pytest.mark.parametrize(
    ("accounts", "left"),
    [(None, ""), ({"a"}, "b"), ({"b"}, "a"), ({"c"}, "ab"), ({"a", "b"}, ""), (set(), "ab")],
)
def test_what_an_invalidation_takes(accounts: set[str] | None, left: str) -> None:
    """The answers of its accounts, and always those that may be of any."""
    hot = make_hot()
    put(hot, "/a")
    put(hot, "/b", accounts=frozenset({"b"}))
    put(hot, "/both", accounts=frozenset({"a", "b"}))
    put(hot, "/all", accounts=None)

    hot.invalidate(None if accounts is None else frozenset(accounts))

    assert [name for name in "ab" if hot.find(key_of(f"/{name}"), 1.0)] == list(left)
    assert (hot.find(key_of("/both"), 1.0) is not None) == (left == "ab")
    assert hot.find(key_of("/all"), 1.0) is None
    assert hot.bytes == sum(entry.size for entry in hot._entries.values())


def test_all_of_the_key_is_counted() -> None:
    """The address and the Accept as well: whoever changes them gets no more room than there is."""
    plain = key_of("/x")
    long = made((*plain[:3], b"application/json;a=" + b"0" * 60_000))
    assert long.size - made(plain).size > 60_000


@pytest.mark.parametrize(
    ("path_account", "accounts", "heard", "kept"),
    [
        ("a", {"a"}, {"a"}, False),
        ("a", {"a"}, None, False),
        ("a", {"a"}, {"b"}, True),
        (None, {"a"}, {"b"}, True),
        (None, {"a"}, {"a"}, False),
        (None, None, {"b"}, False),
        # The path names one, but the answer turns out to be of another one as well.
        ("a", {"a", "b"}, {"b"}, False),
        ("a", None, {"b"}, False),
        ("a", {"a"}, set(), True),
    ],
)
def test_a_fill_that_is_spoiled(
    path_account: str | None, accounts: set[str] | None, heard: set[str] | None, kept: bool
) -> None:
    """Heard between the beginning of the question and its answer: that answer is not kept."""
    hot = make_hot()
    key = key_of("/x")
    with hot.filling(key, path_account, 0.0) as fill:
        hot.invalidate(None if heard is None else frozenset(heard))
        hot.keep(fill, made(key, accounts=None if accounts is None else frozenset(accounts)))

    assert (hot.find(key, 1.0) is not None) == kept
    assert hot.spoiled_fills == (not kept)


def test_without_the_guard_a_spoiled_fill_would_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a fill that does not listen keeps an answer from before the change."""
    monkeypatch.setattr(Fill, "hear", lambda *_: None)
    hot = make_hot()
    key = key_of("/x")
    with hot.filling(key, "a", 0.0) as fill:
        hot.invalidate(frozenset({"a"}))
        hot.keep(fill, made(key))

    assert hot.find(key, 1.0) is not None


def test_a_fill_hears_more_than_it_can_hold() -> None:
    """Thousands of accounts while one question is asked: it counts as all of them."""
    hot = make_hot()
    key = key_of("/x")
    with hot.filling(key, "a", 0.0) as fill:
        for number in range(5):
            hot.invalidate(frozenset(f"b{number}{i}" for i in range(300)))
        assert fill.is_spoiled
        hot.keep(fill, made(key))
    assert len(hot) == 0


async def test_who_asks_the_same_waits_for_one_answer() -> None:
    """A fill under way is joined while nothing was heard since it began; its end wakes who waits, kept or not."""
    hot = make_hot()
    key = key_of("/x")
    with hot.filling(key, "a", 0.0) as fill:
        assert hot.under_way(key, 0.0) is fill
        begun = hot.begun
        waiting = asyncio.create_task(fill.wait())
        await asyncio.sleep(0)
        hot.keep(fill, made(key))
        await waiting
        assert hot.is_good(fill, begun, 0.0)
        assert hot.under_way(key, 0.0) is None
    with hot.filling(key, "a", 0.0) as refused:
        waiting = asyncio.create_task(refused.wait())
        await asyncio.sleep(0)
    await waiting
    assert not hot.is_good(refused, hot.begun, 0.0)


@pytest.mark.parametrize("when", ["before the answer", "after the answer"])
def test_nobody_joins_what_is_from_before_an_invalidation(when: str) -> None:
    """Who came before it asks anew; for who came before the question itself its answer is as good as his own."""
    hot = make_hot()
    key = key_of("/x")
    came_first = hot.begun
    with hot.filling(key, "a", 0.0) as fill:
        came_second = hot.begun
        if when == "before the answer":
            hot.invalidate(frozenset({"a"}))
            assert hot.under_way(key, 0.0) is None
            with hot.filling(key, "a", 0.0) as younger:
                assert hot.under_way(key, 0.0) is younger
        hot.keep(fill, made(key))
        if when == "after the answer":
            hot.invalidate(frozenset({"a"}))
        assert not hot.is_good(fill, came_second, 0.0)
        assert hot.is_good(fill, came_first, 0.0)


def test_fills_that_nobody_joins() -> None:
    """One that waits for a poll, one that hears nothing, and all of them where nothing is kept."""
    key = key_of("/x")
    for hot, shared in ((make_hot(), False), (make_hot(trusted_until=-1.0), True), (make_hot(bytes_max=0), True)):
        with hot.filling(key, "a", 0.0, shared=shared):
            assert hot.under_way(key, -1.0) is None


def test_bytes_are_bounded() -> None:
    """Never more than allowed, and an answer that is too big for it is not kept at all."""
    hot = make_hot(bytes_max=40 * OVERHEAD_BYTES)
    for number in range(500):
        put(hot, f"/{number}", body=b"x" * (number % 7) * 100)
        assert hot.bytes <= hot.bytes_max
    assert len(hot) > 20
    assert hot.evictions == 500 - len(hot)
    put(hot, "/big", body=b"x" * hot.bytes_max)
    assert hot.find(key_of("/big"), 1.0) is None
    assert len(hot) > 20


def test_nothing_is_kept_where_nothing_may_be() -> None:
    """0 turns it off."""
    hot = make_hot(bytes_max=0)
    put(hot, "/x")
    assert len(hot) == 0


def test_what_is_used_gets_a_second_chance() -> None:
    """An answer that is read now and then outlives any number of answers that are read once."""
    hot = make_hot(bytes_max=50 * OVERHEAD_BYTES)
    put(hot, "/wanted")
    put(hot, "/unwanted")
    for number in range(1000):
        put(hot, f"/{number}")
        if number % 10 == 0:
            assert hot.find(key_of("/wanted"), 1.0) is not None, number
    assert hot.find(key_of("/unwanted"), 1.0) is None


def test_the_same_question_again_replaces_its_answer() -> None:
    """Of two answers the later is kept, and counted once; the index goes by its accounts."""
    hot = make_hot()
    put(hot, "/x")
    later = put(hot, "/x", accounts=frozenset({"b"}), body=b"later")
    assert hot.find(later.key, 1.0) is later
    assert (len(hot), hot.bytes, hot.accounts_indexed) == (1, later.size, 1)


def test_memory_stays_flat() -> None:
    """Two hundred thousand distinct questions about as many accounts leave no more behind than may be kept."""
    hot = make_hot(bytes_max=2 << 20)

    def ask(numbers: range) -> int:
        for number in numbers:
            account_id = f"acct_{number}"
            put(hot, f"/banking/accounts/{account_id}/activity", accounts=frozenset({account_id}), body=bytes(500))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        filled = ask(range(1_000))
        later = ask(range(1_000, 5_000))
    finally:
        tracemalloc.stop()
    pattern = made(key_of("/x"))
    for number in range(5_000, 200_000):
        entry = copy(pattern)
        entry.key, entry.accounts = key_of(f"/{number}"), frozenset({f"acct_{number}"})
        with hot.filling(entry.key, None, 0.0) as fill:
            hot.keep(fill, entry)

    assert later < filled * 1.05
    assert later < hot.bytes_max * 1.2
    assert len(hot) == hot.accounts_indexed
    assert sum(entry.size for entry in hot._entries.values()) == hot.bytes
    assert (hot._fills, hot._shared) == (set(), {})


def test_headers_say_the_age_at_the_moment() -> None:
    """Age grows, what is left of max-age shrinks, and the list is made once a second."""
    entry = made(key_of("/x"), 100.0)
    at_once, later = (dict(entry.headers(now, unchanged=False)) for now in (100.0, 110.5))

    assert (at_once[b"age"], at_once[b"cache-control"]) == (b"5", b"private, max-age=30")
    assert (later[b"age"], later[b"cache-control"]) == (b"15", b"private, max-age=19")
    assert entry.headers(110.9, unchanged=False) is entry.headers(110.6, unchanged=False)
    assert at_once[b"content-length"] == b"2"
    assert b"content-length" not in dict(entry.headers(110.0, unchanged=True))


def test_a_settled_answer_has_no_age() -> None:
    """It is the same for ever; how old it may be does not matter."""
    entry = made(key_of("/x"), settled=True)
    said = dict(entry.headers(50.0, unchanged=False))

    assert said[b"cache-control"].endswith(b"immutable")
    assert b"age" not in said
    assert not entry.is_older(50.0, 0)


def test_older_than_a_request_allows() -> None:
    """To the moment, and one without an age is older than anything."""
    entry = made(key_of("/x"), 100.0)
    assert not entry.is_older(104.0, 9)
    assert entry.is_older(104.1, 9)
    assert made(key_of("/x"), age_seconds=None).is_older(0.0, 1_000_000)


@pytest.mark.parametrize(
    ("sent", "same"),
    [
        (b'W/"1"', True),
        (b'"1"', True),
        (b"*", True),
        (b' "0", W/"1" ,"2"', True),
        (b'W/"2"', False),
        (b'"0","2"', False),
        (b"1", False),
        (b"", False),
        (b"W/*", False),
        (b'w/"1"', False),
    ],
)
def test_if_none_match(sent: bytes, same: bool) -> None:
    """A tag, a list of them, or `*`; weak and strong are the same here."""
    assert is_unchanged(sent, b'W/"1"') == same


@pytest.mark.parametrize(
    ("read", "sent", "meaning"),
    [
        (most_age, b"max-age=5", 5),
        (most_age, b" Max-Age=0 ", 0),
        (most_age, b"no-cache", None),
        (most_age, b"max-age=5, no-transform", None),
        (most_age, b"max-age=", None),
        (most_age, b"max-age=-1", None),
        (most_age, b"max-age=99999999999", None),
        (is_private, b"no-cache, No-Store", True),
        (is_private, b"max-age=0", False),
        (most_age_asked, b"limit=1&max_age=7", 7),
        (most_age_asked, b"max%5Fage=7", 7),
        (most_age_asked, b"max_age=1.5", 0),
        (most_age_asked, b"max_age=%C2%B2", 0),
        (most_age_asked, b"limit=1", None),
        (most_age_asked, b"", None),
    ],
)
def test_what_a_request_says(read: Callable[[bytes], object], sent: bytes, meaning: object) -> None:
    """Whatever is not understood here is left to the application, or allows nothing."""
    assert read(sent) == meaning
