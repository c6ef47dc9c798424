"""The home: one `up` at a time, and what it writes down outlives it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bankmirror.home import Home, Process, State
from bankmirror.logs import last_words
from bankmirror.ports import address, find_free, is_taken, listen
from kernel.errors import StartupError


def test_one_up_at_a_time(tmp_path: Path) -> None:
    """The second is told who runs, and where."""
    home = Home(tmp_path)
    with home.held() as state:
        home.write_state(replace(state, url="http://127.0.0.1:8000"))
        with (
            pytest.raises(StartupError, match=r"already running \(pid \d+\) at http://127.0.0.1:8000"),
            home.held(),
        ):
            pass
        assert home.find_running() is not None

    with home.held() as state:
        assert state.url is None


def test_left_over_children_are_ended_and_strangers_are_not(tmp_path: Path) -> None:
    """A process number that has gone to somebody else since is nobody of ours."""
    ours, stranger = (subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(2))
    try:
        noted = {"ours": Process.of(ours.pid), "stranger": replace(Process.of(stranger.pid), created=1.0)}
        home = Home(tmp_path)
        home.write_state(State(Process(1, 1.0), sandbox_port=9123, children=noted))
        psutil.Process(ours.pid).suspend()

        with home.held() as state:
            ours.wait(30)
            assert stranger.poll() is None
            assert state.sandbox_port == 9123, "the bank keeps its address"
    finally:
        ours.kill()
        stranger.kill()
        ours.wait()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"supervisor": 7}', '{"supervisor": {"pid": 1}, "children": {}}'])
def test_unreadable_state_is_no_state(tmp_path: Path, text: str) -> None:
    """A file of another version, or of a full disk, keeps nobody from starting."""
    (tmp_path / "up.json").write_text(text)

    assert Home(tmp_path).read_state() is None


def test_home_that_cannot_be(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "home").write_text("")

    with pytest.raises(StartupError, match="cannot write in"), Home(tmp_path / "home").held():
        pass


def test_taken_port_is_looked_past() -> None:
    """The next one that is free, and none when there is no such host."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert is_taken("127.0.0.1", port)
        assert find_free("127.0.0.1", port) > port
    with pytest.raises(StartupError, match=r"no address of this machine|cannot listen"):
        listen("192.0.2.1", 8000)


def test_address_is_one_that_a_client_can_reach() -> None:
    """Listening everywhere is not an address to call."""
    assert address("0.0.0.0", 1) == "http://127.0.0.1:1"
    assert address("::1", 1) == "http://[::1]:1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it said nothing"),
        ("one\ntwo\n", "two"),
        ("error: no key\n  mend: make one\n", "error: no key"),
        (
            '{"event": "request failed", "exception": "Traceback\\n  File x\\nKeyError: 7"}',
            "request failed: KeyError: 7",
        ),
        ('{"event": "polled", "error": null}', "polled"),
    ],
)
def test_last_words(tmp_path: Path, text: str, words: str) -> None:
    """The last complaint, as a person would say it."""
    log = tmp_path / "log"
    log.write_text(text)

    assert last_words(log) == words


def test_last_words_are_of_this_run(tmp_path: Path) -> None:
    """What an earlier run complained about is over; a log that was set aside is shorter than its offset."""
    log = tmp_path / "log"
    log.write_text("error: old\nnew\n")

    assert last_words(log, len("error: old\n")) == "new"
    assert last_words(log, 10_000) == "error: old"
    assert "cannot be read" in last_words(tmp_path / "none")


def test_the_sandbox_of_a_home_keeps_its_id(tmp_path: Path) -> None:
    """Whatever its port; another home has another bank, and so has the same one that begins anew."""
    first = Home(tmp_path).sandbox_id()
    (tmp_path / "other").mkdir()

    assert Home(tmp_path).sandbox_id() == first
    assert Home(tmp_path / "other").sandbox_id() != first
    anew = Home(tmp_path).sandbox_id(fresh=True)
    assert anew != first
    assert Home(tmp_path).sandbox_id() == anew
