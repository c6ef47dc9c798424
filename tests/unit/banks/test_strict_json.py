"""JSON with one meaning."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banks.strict_json import NotStrictJSONError, parse


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html><body>Maintenance</body></html>",
        b'{"data": [{"amount_cents": 1',
        b'{"a": 1} {"a": 2}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"rows": [{"a": {"b": 1, "b": 1}}]}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": 1}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a": 01}',
    ],
)
def test_b5_x3_what_is_not_json_is_refused(body: bytes) -> None:
    """Half a document, a page of HTML, NaN, two values for one key, another encoding: none of it is read."""
    with pytest.raises(NotStrictJSONError) as caught:
        parse(body)

    assert "Maintenance" not in str(caught.value)


def test_x2_numbers_are_exact() -> None:
    """No float is ever made of a number."""
    assert parse(b"[12345678901234567.89, 9.95, 1e2, 12]") == [
        Decimal("12345678901234567.89"),
        Decimal("9.95"),
        Decimal("1e2"),
        12,
    ]
    assert not any(isinstance(number, float) for number in parse(b"[1.5, 1e400, -0.0]"))


def test_absurd_numbers_cost_one_row_and_not_the_page() -> None:
    """What Python cannot read as a number is still JSON: it is read as something that no field accepts."""
    rows = parse(b"[1, " + b"9" * 5000 + b", 1e" + b"9" * 30 + b"]")

    assert rows[0] == 1
    assert all(isinstance(number, Decimal) for number in rows[1:])
    assert parse(b"[-" + b"9" * 5000 + b"]")[0] < -(10**4000)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_what_json_says_is_read(value: object) -> None:
    """Any ordinary document comes through unchanged."""
    assert parse(json.dumps(value).encode()) == value


@given(st.integers(-(10**15), 10**15), st.integers(0, 5))
def test_t42_no_number_passes_through_a_float(minor: int, places: int) -> None:
    """A whole number stays one, and any other is a Decimal of exactly the digits that were written."""
    written = f"{Decimal(minor).scaleb(-places):f}"

    found = parse(f'{{"amount": {written}}}'.encode())["amount"]

    assert type(found) is (Decimal if "." in written else int)
    assert str(found) == written
    assert Decimal(found).scaleb(places) == minor
