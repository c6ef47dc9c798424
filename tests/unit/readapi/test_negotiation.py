"""Which form of an answer is sent, by what the request accepts."""

import pytest

from kernel.errors import NotAcceptable
from readapi.negotiation import chosen_form

JSON, CSV, LINES = "application/json", "text/csv", "application/x-ndjson"
OFFERED = (JSON, CSV, LINES)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("TEXT/CSV; charset=utf-8", CSV),
        ("text/*", CSV),
        ("text/html, text/csv;q=0.2, */*;q=0.1", CSV),
        ("text/csv;q=0.5, application/json;q=0.4", CSV),
        ("text/csv;q=0.5, application/json", JSON),
        # The range that names it most closely decides, wherever it stands.
        ("application/*;q=0.1, application/x-ndjson, text/csv;q=0.5", LINES),
        ("application/json;q=0, */*", CSV),
        # What is no media range is as if it were not there.
        ("csv, text/csv", CSV),
        ("text/csv;q=nan, application/x-ndjson;q=0.1", LINES),
        ("text/csv;q=x, application/x-ndjson;q=0.1", LINES),
    ],
)
def test_the_form_that_is_wanted_most(accept: str | None, form: str) -> None:
    """By quality, then by the order in which they are offered."""
    assert chosen_form(accept, OFFERED) == form


@pytest.mark.parametrize(
    "accept", ["image/png", "text/csv;q=0", "*/*;q=0", "application/json;q=0, text/html", "nonsense"]
)
def test_none_of_them(accept: str) -> None:
    """Nothing is sent that was not accepted; the refusal says what there is."""
    with pytest.raises(NotAcceptable, match="application/json, text/csv"):
        chosen_form(accept, OFFERED)
