"""Failures are counted by who fails, in bounded memory."""

import pytest

from kernel.failures import FAILURES_MAX, REMEMBERED_MAX, WINDOW_SECONDS, Failures, network_of


def test_the_limit_and_its_end() -> None:
    """As many as are allowed, then a wait until the window that began with the first one is over."""
    failures = Failures()
    for number in range(FAILURES_MAX):
        assert failures.wait_seconds("a", 100.0 + number) == 0.0
        failures.note("a", 100.0 + number)

    assert failures.wait_seconds("a", 130.0) == 100.0 + WINDOW_SECONDS - 130.0
    assert failures.wait_seconds("b", 130.0) == 0.0
    assert failures.wait_seconds("a", 100.0 + WINDOW_SECONDS) == 0.0
    failures.note("a", 100.0 + WINDOW_SECONDS)
    assert failures.wait_seconds("a", 101.0 + WINDOW_SECONDS) == 0.0


def test_memory_is_bounded_and_who_goes_on_failing_is_remembered() -> None:
    """A flood of other keys does not make the busiest one forgotten."""
    failures = Failures()
    for number in range(3 * REMEMBERED_MAX):
        failures.note(f"other {number}", 1.0)
        if number % 1_000 == 0:
            failures.note("busy", 1.0)

    assert len(failures._counted) == REMEMBERED_MAX
    assert failures.wait_seconds("busy", 1.0) > 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("", "127.0.0.1", True),
        ("192.168.1.1", "fd00::1", True),
        ("192.168.1.1", "192.169.1.1", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("unix", "pipe", False),
    ],
)
def test_who_is_the_same(one: str, other: str, same: bool) -> None:
    """A network of IPv6 is one caller; an address of IPv4 is."""
    assert (network_of(one) == network_of(other)) is same
