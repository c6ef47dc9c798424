"""The watchdog barks at silence, and only then."""

import threading
import time

from ingest.scheduler import Watchdog


def test_p8_silence_is_noticed() -> None:
    """No report for longer than the limit: it gives up, once."""
    given_up = threading.Event()
    watchdog = Watchdog(0.2, given_up.set)

    watchdog.start()

    assert given_up.wait(2)


def test_reports_keep_it_quiet() -> None:
    """As long as somebody reports, nothing happens, and nothing happens after it was stopped."""
    given_up = threading.Event()
    watchdog = Watchdog(0.3, given_up.set)
    watchdog.start()
    for _ in range(8):
        time.sleep(0.1)
        watchdog.report()
    watchdog.stop()
    time.sleep(0.5)

    assert not given_up.is_set()
