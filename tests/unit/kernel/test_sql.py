"""The loader of named queries."""

import pytest

from kernel.sql import QueryFileError, parse_queries


def test_queries_are_found_by_name() -> None:
    """A file is split at its headers; the description stays with the query, where the server's log shows it."""
    queries = parse_queries(
        "-- About this file.\n\n"
        "-- name: one_select\n-- The first.\nSELECT 1;\n"
        "-- name: two_select\n-- Two.\nSELECT 2;\n"
    )

    assert dict(queries) == {"one_select": "-- The first.\nSELECT 1;", "two_select": "-- Two.\nSELECT 2;"}
    with pytest.raises(KeyError):
        queries["three_select"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: a\n-- A.\nSELECT 1\n-- name: a\n-- A.\nSELECT 2", "twice"),
        ("-- name: a\nSELECT 1", "no description"),
    ],
)
def test_a_careless_file_is_refused(text: str, complaint: str) -> None:
    """Two queries of one name, or one that nobody described."""
    with pytest.raises(QueryFileError, match=complaint):
        parse_queries(text)
