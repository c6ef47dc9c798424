"""Cursors give back what was put in, to the query they were made for, and to nobody else."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.caller import Caller
from kernel.errors import CursorInvalid
from readapi.cursors import Cursors

CURSORS = Cursors(b"key")
CALLER = Caller("token_1", "one", frozenset({"read"}), ("acct_1", "acct_2"))
KEYS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=3)
FILTERS = st.dictionaries(st.sampled_from(["status", "type", "from"]), st.text(max_size=10))


@given(keys=KEYS, filters=FILTERS)
def test_what_goes_in_comes_out(keys: list[str], filters: dict[str, str]) -> None:
    """For any keys; the page size and the cursor itself are not part of the query."""
    cursor = CURSORS.make(CALLER, "/path", {**filters, "limit": "1"}, json.dumps(keys))

    assert CURSORS.read(CALLER, "/path", {**filters, "limit": "500", "cursor": cursor}, cursor, len(keys)) == keys
    assert cursor.isascii()
    assert not set(cursor) & set("+/=&?")


@given(keys=KEYS, filters=FILTERS, seed=st.integers())
def test_one_changed_character_is_refused(keys: list[str], filters: dict[str, str], seed: int) -> None:
    """Version, signature or keys: any change shows."""
    cursor = CURSORS.make(CALLER, "/path", filters, json.dumps(keys))
    place = random.Random(seed).randrange(len(cursor))
    other = "B" if cursor[place] != "B" else "C"
    changed = cursor[:place] + other + cursor[place + 1 :]

    # The last character may hold spare bits, which decode to the same bytes: that is the same cursor.
    try:
        assert CURSORS.read(CALLER, "/path", filters, changed, len(keys)) == keys
        assert place == len(cursor) - 1
    except CursorInvalid:
        pass


@pytest.mark.parametrize(
    ("cursors", "path", "filters", "key_count"),
    [
        (Cursors(b"other key"), "/path", {"a": "1"}, 1),
        (CURSORS, "/other", {"a": "1"}, 1),
        (CURSORS, "/path", {"a": "2"}, 1),
        (CURSORS, "/path", {}, 1),
        (CURSORS, "/path", {"a": "1", "b": "2"}, 1),
        (CURSORS, "/path", {"a": "1"}, 2),
    ],
)
def test_another_query_is_refused(cursors: Cursors, path: str, filters: dict[str, str], key_count: int) -> None:
    """Another key, path, value, filter, or number of keys."""
    cursor = CURSORS.make(CALLER, "/path", {"a": "1"}, '["x"]')
    assert CURSORS.read(CALLER, "/path", {"a": "1"}, cursor, 1) == ["x"]

    with pytest.raises(CursorInvalid):
        cursors.read(CALLER, path, filters, cursor, key_count)


def test_names_and_values_cannot_trade_places() -> None:
    """Two queries whose texts would be equal when run together are still two queries."""
    cursor = CURSORS.make(CALLER, "/path", {"a": "1", "b": "2"}, '["x"]')

    with pytest.raises(CursorInvalid):
        CURSORS.read(CALLER, "/path", {"a": '1", "b": "2'}, cursor, 1)
