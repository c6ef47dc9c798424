"""What `bankmirror doctor` tells an operator to do."""

import pytest

from bankmirror.doctor import mend_of


@pytest.mark.parametrize(
    ("remedy", "mend"),
    [
        ("do not rely on totals; `bankmirror breaker list` shows what is missing", "`bankmirror breaker list`"),
        ("treat amounts as of synced_at; bankmirror doctor names what is wrong", "the log of ingest"),
        (None, "the log of ingest"),
    ],
)
def test_a_feed_is_mended_by_the_command_that_its_remedy_names(remedy: str | None, mend: str) -> None:
    """Readers are sent to doctor; doctor does not send to itself."""
    assert mend in mend_of(remedy)
    assert "doctor" not in mend_of(remedy)
