"""Retry-After and Date, from banks that say absurd things."""

from datetime import UTC, datetime, timedelta

import pytest

from banks.headers import http_date, retry_after

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 1),
        ("1", 1),
        ("120", 120),
        (" 120 ", 120),
        ("1.5", 1),
        ("00000000120", 120),
        ("-1875538", 1),
        ("-" + "9" * 5000, 1),
        ("604800", 86_400),
        ("9" * 5000, 86_400),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90),
        ("Sun, 22 Nov 2026 12:01:30 -0000", 90),
        ("Sun, 22 Nov 2026 14:01:30 +0200", 90),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 1),
        ("Sun, 22 Nov 2099 12:00:00 GMT", 86_400),
    ],
)
def test_t51_pauses_are_between_a_second_and_a_day(value: str, seconds: int) -> None:
    """Neither a negative nor a week-long pause is believed."""
    assert retry_after(value, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", [None, "", "soon", "1e3", "²", "٣", "0x10", "NaN", "Sun, 99 Nov 2026", "1 2"])
def test_what_is_no_pause_is_none(value: str | None) -> None:
    """What cannot be read is not guessed."""
    assert retry_after(value, NOW) is None


@pytest.mark.parametrize(
    "value", [None, "", "now", "Sun, 22 Nov 1066 12:00:00 GMT", "Sun, 22 Nov 99999 12:00:00 GMT", "\0" * 9]
)
def test_what_is_no_date_is_none(value: str | None) -> None:
    """A bank without a usable clock has none."""
    assert http_date(value) is None


def test_dates_are_in_utc() -> None:
    """Whatever the offset says."""
    assert http_date("Sun, 22 Nov 2026 14:00:00 +0200") == NOW
