"""A token says what it is, shows typing errors, and never combines what must be apart."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import tokens
from kernel.caller import SCOPES

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_token_reads_back() -> None:
    """Prefix, environment, id, secret, checksum; in that order and length."""
    made = tokens.make("live")

    assert re.fullmatch(r"bmk_live_[0-9A-Za-z]{57}", made.text)
    assert made.text[9:17] == made.token_id
    assert tokens.parse(made.text) == made
    assert tokens.parse(tokens.make("test").text) is not None


def test_no_two_are_the_same() -> None:
    """The secret fills its whole length: the highest digits vary as well."""
    made = [tokens.make("test").text for _ in range(500)]

    assert len({text[17:60] for text in made}) == 500
    assert len({text[17] for text in made}) > 10


@given(place=st.integers(0, 65), letter=st.sampled_from(LETTERS))
def test_a_typing_error_shows_at_once(place: int, letter: str) -> None:
    """One character that is another one is noticed without asking anybody."""
    text = tokens.make("live").text
    mistyped = text[:place] + letter + text[place + 1 :]

    assert (tokens.parse(mistyped) is None) == (mistyped != text)


@pytest.mark.parametrize("strange", ["", "bmk_live_", "Bearer x", "é" * 66, "bmk_prod_" + "0" * 57, "0" * 66])
def test_what_is_no_token(strange: str) -> None:
    """None, and no error, for whatever somebody sends."""
    assert tokens.parse(strange) is None


@pytest.mark.parametrize("around", ["{} ", " {}", "{}\n", "{}x", "x{}"])
def test_nothing_is_trimmed(around: str) -> None:
    """There is one way to write a token."""
    assert tokens.parse(around.format(tokens.make("live").text)) is None


@given(scopes=st.sets(st.sampled_from(sorted(SCOPES))))
def test_who_reads_memos_moves_no_money(scopes: set[str]) -> None:
    """Memos are written by strangers; the rule holds for every combination."""
    may_not = "read:memo" in scopes and ({"transfer:request", "transfer:approve"} & scopes or "read" not in scopes)

    assert bool(tokens.what_is_wrong(scopes)) == bool(may_not)
