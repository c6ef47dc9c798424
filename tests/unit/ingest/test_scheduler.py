"""The watchdog barks at silence, and only then."""

import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from ingest import scheduler
from ingest.scheduler import Watchdog


def test_p8_silence_is_noticed() -> None:
    """No report for longer than the limit: it gives up, once."""
    given_up = threading.Event()
    watchdog = Watchdog(0.2, given_up.set)

    watchdog.start()

    assert given_up.wait(30)


def test_reports_keep_it_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as somebody reports, nothing happens; stopped, it ends."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: clock.now))
    given_up = threading.Event()
    watchdog = Watchdog(0.1, given_up.set)
    watchdog.start()
    for _ in range(8):
        # Almost as long as it may be, on a clock that no busy machine moves; the watchdog looks some times meanwhile.
        clock.now += 0.09
        time.sleep(0.05)
        watchdog.report()
    watchdog.stop()
    for thread in threading.enumerate():
        if thread.name == "watchdog":
            thread.join(30)

    assert not given_up.is_set()


SLEEPER = """
import sys, threading, time
from ingest.scheduler import WEDGED_EXIT_CODE, Watchdog, end_process
watchdog = Watchdog(1.0, end_process)
watchdog.start()
print("started", flush=True)
while True:
    time.sleep(0.05)
    watchdog.report()
    print("reported", flush=True)
"""


def test_p6_who_was_asleep_is_not_wedged() -> None:
    """Stopped for longer than the limit, it goes on: nobody could report, and the watchdog slept as well."""
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "started\n"
            process.send_signal(signal.SIGSTOP)
            # A span that is measured: it has to be longer than the limit, and may be as long as it likes.
            time.sleep(2)
            process.send_signal(signal.SIGCONT)
            # What it had written before it slept, and then much more.
            assert [process.stdout.readline() for _ in range(40)] == ["reported\n"] * 40
        finally:
            process.kill()
