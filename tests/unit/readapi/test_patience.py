"""What a request says of age and waiting, in its query and in headers that anybody may garble."""

from typing import Any

import pytest
from fastapi import Request

from kernel.errors import ValidationFailed
from readapi.patience import WAIT_SECONDS, Patience, patience_of


def request(query: str = "", *headers: tuple[str, str]) -> Request:
    """A request with these."""
    scope: dict[str, Any] = {
        "type": "http",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    return Request(scope)


def test_who_says_nothing_is_answered_as_it_is() -> None:
    """Whatever else is in the headers."""
    assert patience_of(request(), settled=False) is None
    assert patience_of(request("limit=5", ("prefer", "wait=5"), ("cache-control", "no-cache")), settled=False) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("max-age=0", 0),
        ("max-age=60", 60),
        ("Max-Age=60", 60),
        ('no-transform, max-age="60" , max-age=90', 60),
        ("max-age=99999999999999999999999", 31_536_000),
    ],
)
def test_the_header_says_the_age(value: str, seconds: int) -> None:
    """As RFC 9111 has it; the least counts, and beyond a year any age will do."""
    patience = patience_of(request("", ("cache-control", value)), settled=False)
    assert patience == Patience(seconds, WAIT_SECONDS, prefers=False)


@pytest.mark.parametrize(
    "value",
    ["max-age", "max-age=", "max-age=-1", "max-age=soon", "max-age=1.5", "max-age=1_0", "max-age=\u0663", "=,;"],
)
def test_a_garbled_header_is_ignored(value: str) -> None:
    """No answer is refused for what a proxy made of a header."""
    assert patience_of(request("", ("cache-control", value)), settled=False) is None


def test_the_less_of_both_counts() -> None:
    """Of the query and the header, and of two headers."""
    for query, header, seconds in (("max_age=9", "max-age=5", 5), ("max_age=5", "max-age=9", 5), ("max_age=5", "", 5)):
        found = patience_of(request(query, ("cache-control", header), ("cache-control", "max-age=8")), settled=False)
        assert found is not None
        assert found.age_seconds == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("wait=5", 5),
        ("respond-async, WAIT=7; foo=bar", 7),
        ('wait="3", wait=9', 3),
        ("wait=0", 0),
        ("wait=3600", 10),
    ],
)
def test_the_preference_says_how_long(value: str, seconds: int) -> None:
    """As RFC 7240 has it: the first counts; ten seconds at most; and it is said that it was heeded."""
    patience = patience_of(request("max_age=0", ("prefer", value)), settled=False)
    assert patience == Patience(0, seconds, prefers=True)
    assert patience.applied == {"Preference-Applied": f"wait={seconds}"}


@pytest.mark.parametrize("value", ["wait", "wait=", "wait=-1", "wait=long", "wait=1.5, wait=5", "", ";;,="])
def test_a_garbled_preference_is_none(value: str) -> None:
    """It waits as one who said nothing."""
    patience = patience_of(request("max_age=0", ("prefer", value)), settled=False)
    assert patience == Patience(0, WAIT_SECONDS, prefers=False)
    assert patience.applied == {}


def test_a_settled_moment_has_no_age() -> None:
    """Refused where somebody wrote it, ignored where a client library may have."""
    assert patience_of(request("known_at=x", ("cache-control", "max-age=0")), settled=True) is None
    with pytest.raises(ValidationFailed, match="known_at"):
        patience_of(request("known_at=x&max_age=5"), settled=True)
