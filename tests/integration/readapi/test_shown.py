"""What third-party text loses on its way out, held against all of Unicode and against itself."""

import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.readapi.mirror import Mirror

# In no category of what is hidden, and still nothing that an eye sees: joiners, fillers, blanks, variation selectors.
BLANK = {
    0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0, 0xFFFC,
    0x16FE4, 0x1D159, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0),
}  # fmt: skip
# Above these planes there are tags, selectors and private use alone.
PLANES_END = 0x33480
PIECES = [
    "a", "Z", "7", " ", ".", "/", "//", ":", "(", "[", "]", "!", "<", ">", "`", "&", "&#", ";", "lt", "www", "WWW.",
    "~", "{", "%", "$", "\\", "#", "?", "javascript", "data", "file", "é", "Ж", "漢", "\u200b", "\u202e",
    "evil.example", "https", "=", "-",
]  # fmt: skip
# What a renderer would act on.
ACTIVE = (
    "<",
    ">",
    "`",
    "](",
    "][",
    "]:",
    "![",
    "//",
    "\\\\",
    "~~",
    "{{",
    "{%",
    "${",
    "&#",
    "&lt",
    "://",
    "www.",
    "data:",
)


def is_hidden(code: int) -> bool:
    """Whether the Unicode database, or the list above, says that nobody sees it."""
    category = unicodedata.category(chr(code))
    return category in {"Cc", "Cf", "Co", "Zl", "Zp"} or (category == "Zs" and code != 0x20) or code in BLANK


def test_every_hidden_character_of_unicode_is_taken_out(mirror: Mirror) -> None:
    """And no visible one is. What the database cannot hold never comes: NUL and surrogates."""
    rows = mirror.run(
        """
        SELECT code, read.shown('a' || chr(code) || 'b') FROM generate_series(1, %s) AS code
         WHERE code NOT BETWEEN 55296 AND 57343
         UNION ALL
        SELECT code, read.shown('a' || chr(code) || 'b') FROM unnest(%s::int[]) AS code
        """,
        PLANES_END,
        [*range(0xE0000, 0xE1000), 0xEFFFF, 0xF0000, 0xFFFFD, 0x100000, 0x10FFFF],
    )
    shown = dict(rows)
    assigned = [code for code in shown if unicodedata.category(chr(code)) != "Cn"]

    assert [hex(code) for code in assigned if is_hidden(code) and shown[code] != "a b"] == []
    lost = [hex(code) for code in assigned if not is_hidden(code) and shown[code] in ("a b", "ab", "a  b")]
    assert lost == ["0x20"]


def test_what_is_no_character_is_taken_out(mirror: Mirror) -> None:
    """Noncharacters of every plane, and code points that Unicode keeps for what is invisible."""
    codes = [
        *range(0xFDD0, 0xFDF0),
        *(plane * 0x10000 + 0xFFFE + last for plane in range(17) for last in (0, 1)),
        0x2065,
        0xFFF0,
    ]
    rows = mirror.run("SELECT DISTINCT read.shown('a' || chr(code) || 'b') FROM unnest(%s::int[]) AS code", codes)

    assert rows == [("a b",)]


@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_active_is_left_and_the_short_way_is_the_long_way(mirror: Mirror, text: str) -> None:
    """Whatever is put together of marks: it comes out without one that runs, and alike by both ways."""
    ((shown, defused, again),) = mirror.run(
        "SELECT read.shown(raw), read.defused(raw), read.shown(read.shown(raw)) FROM (SELECT %s::text AS raw) AS given",
        text,
    )

    assert shown == defused
    assert [mark for mark in ACTIVE if mark in shown.lower()] == []
    assert again == shown[:140]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Invoice 8842 / ACME Ltd.", "Invoice 8842 / ACME Ltd."),
        ("Marks & Spencer (10% off)", "Marks & Spencer (10% off)"),
        ("see https://evil.example/x?d=1", "see https:/ /evil.example /x?d=1"),
        ("![a](http://e.example/a.png)", "! [a] (http:/ /e.example /a.png)"),
        ("[a]: //e.example", "[a] : / /e.example"),
        ("<img src=x onerror=y>", "\u2039img src=x onerror=y\u203a"),
        ("javascript:alert(1)", "javascript :alert(1)"),
        ("&lt;b&#62; AT&T; H&M", "& lt;b& #62; AT& T; H&M"),
        ("Cafe\u0301", "Cafe\u0301"),
        ("e" * 150, "e" * 140),
        (None, None),
    ],
)
def test_text_stays_readable(mirror: Mirror, raw: str | None, shown: str | None) -> None:
    """Ordinary text is as it was, its composition too; what is split can still be read."""
    assert mirror.run("SELECT read.shown(%s)", raw) == [(shown,)]


def test_a_longest_memo_is_judged_quickly(mirror: Mirror) -> None:
    """Nobody makes the database busy by a text that no pattern gets through quickly."""
    hard: list[Any] = [
        "aA" * 30_000,
        "a1A-" * 15_000,
        "please " * 9_000,
        "ignore " * 9_000,
        "[({<" * 15_000,
        "\u200b" * 60_000,
    ]
    for text in hard:
        (before,) = mirror.run("SELECT clock_timestamp()")
        mirror.run("SELECT read.warnings(%s, %s), read.shown(%s)", text, text, text)
        ((seconds,),) = mirror.run("SELECT extract(epoch FROM clock_timestamp() - %s)::float8", before[0])
        assert seconds < 1.0, text[:20]
