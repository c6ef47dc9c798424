"""What is printed can be copied, fits its place, and is true where the user stands."""

import io
import os
import shlex
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bankmirror import command, status, store
from bankmirror.home import Home, Process, State
from bankmirror.settings import UpSettings
from bankmirror.up import where_data_stays
from bankmirror.welcome import Answer, Welcome

RUN: dict[str, object] = {
    "feed": "transactions",
    "account_id": "",
    "outcome": "failed",
    **dict.fromkeys(("rows_seen", "rows_changed", "rows_removed", "rows_refused"), 0),
    "error": "bank-unreachable: " + "the way to the bank is long and winding, " * 10,
    "age_seconds": 3.0,
    "took_seconds": 0.5,
}
FEED: dict[str, object] = {
    "feed": "balances",
    "verdict": "fresh",
    "reason": None,
    "targets": 1,
    "age_seconds": 3.0,
    "due_in_seconds": -0.2,
    "polled_now": 0,
    "overdue": 0,
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtualenv with our script, and somebody in the directory beside it."""
    script = tmp_path / "my project" / ".venv" / "bin" / "bankmirror"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script.with_name("python")))
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path / "my project")
    command.own_name.cache_clear()
    monkeypatch.setattr(command, "own_name", command.own_name.__wrapped__)
    return script


def test_command_is_the_one_that_works_here(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path where PATH has none or another one, by its name where PATH has it."""
    assert command.own_name() == ".venv/bin/bankmirror"
    assert command.as_typed("run `bankmirror migrate`, as Bankmirror said") == (
        "run `.venv/bin/bankmirror migrate`, as Bankmirror said"
    )
    other = environment.parents[2] / "bankmirror"
    other.write_bytes(environment.read_bytes())
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert command.own_name() == ".venv/bin/bankmirror"

    monkeypatch.setenv("PATH", str(environment.parent))
    assert command.own_name() == "bankmirror"

    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir("/")
    assert shlex.split(command.own_name()) == [str(environment).lstrip("/")]


def test_command_without_a_script(environment: Path) -> None:
    """Run from a checkout that is not installed."""
    environment.unlink()

    assert shlex.split(command.own_name())[1:] == ["-m", "bankmirror"]


def test_psql_line_can_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a home with a blank in its name."""
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    box = Welcome(UpSettings(home=Path("a home")), Home(Path("a home")), "http://x", Answer("curl x", []), 1.0)

    box.show(Console(file=out, width=40))

    (line,) = [line for line in out.getvalue().splitlines() if line.startswith(" psql")]
    assert shlex.split(line) == ["psql", "./a home/psql", "-c", "\\dv+ read.*"]


@pytest.mark.parametrize("chaos", [0.0, 0.25])
def test_box_says_that_the_bank_fails_on_purpose(chaos: float) -> None:
    """Whoever sees faults an hour later should not search for them."""
    out = io.StringIO()
    home = Path("home")

    Welcome(UpSettings(home=home), Home(home), "http://x", Answer("curl x", []), 1.0, chaos).show(Console(file=out))

    assert ("answers 0.25 of all requests with a fault" in out.getvalue()) is (chaos > 0)


@pytest.mark.parametrize("part", ["_runs", "_feeds"])
async def test_status_in_a_file_has_a_row_in_a_line(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the error was; and what is due now is not overdue."""
    rows: list[dict[str, object]] = (
        [RUN, RUN] if part == "_runs" else [FEED, {**FEED, "overdue": 1, "due_in_seconds": -90.0}]
    )

    async def fetch(*_: object, **__: object) -> list[dict[str, object]]:
        return rows

    monkeypatch.setattr(store, "fetch_all", fetch)
    out = io.StringIO()

    await getattr(status, part)(None, status.make_console(out))

    _, first, second = out.getvalue().splitlines()
    if part == "_runs":
        assert "bank-unreachable: the way" in first
        assert len(first.rstrip()) < 160
    else:
        assert ("now" in first, "overdue" in first, "overdue by 90 s" in second) == (True, False, True)


def test_status_names_the_processes_that_live(tmp_path: Path) -> None:
    """Their numbers, for whoever wants to stop one and no other."""
    ours = Process.of(os.getpid())
    home = Home(tmp_path)
    home.write_state(State(ours, children={"sandbox": ours, "ingest": Process(ours.pid, 1.0)}))

    assert str(status._running(home)).splitlines()[1] == f"pids: up {ours.pid}, sandbox {ours.pid}"


@pytest.mark.parametrize(
    ("told", "where"),
    [
        ({}, "the data stays in {home}"),
        (
            {"DATABASE_URL": "postgresql://x"},
            "the mirror stays in the database that DATABASE_URL names, the sandbox bank in {home}",
        ),
        (
            {"DATABASE_URL": "postgresql://x", "BANK_API_BASE_URL": "https://bank.example"},
            "the mirror stays in the database that DATABASE_URL names",
        ),
    ],
)
def test_end_says_where_the_data_stays(tmp_path: Path, told: dict[str, str], where: str) -> None:
    """Not in the home, when it was never there."""
    home = Home(tmp_path)

    assert where_data_stays(UpSettings(**told), home) == where.format(home=home.path)  # type: ignore[arg-type]
