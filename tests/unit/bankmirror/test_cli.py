"""The command line: quick to answer, and quick to import nothing."""

import os
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import bankmirror

ROOT = Path(bankmirror.__file__).parents[1]
COMMANDS = ("up", "migrate", "doctor", "status", "ingest", "readapi", "transfers", "sandbox", "backfill")
HELP_SECONDS = 0.5


def ask(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, "-P", "-m", "bankmirror", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_names_every_command_and_is_quick() -> None:
    """Under half a second of processor time, the best of three: how long the machine lets it wait is not ours."""
    took = []
    for _ in range(3):
        began = children_cpu_seconds()
        answer = ask("--help")
        took.append(children_cpu_seconds() - began)

    listed = {line.split()[1] for line in answer.stdout.splitlines() if line.startswith("│ ") and len(line.split()) > 2}
    assert set(COMMANDS) <= listed
    assert "front" not in listed, "it is for `up`"
    assert min(took) < HELP_SECONDS


def test_help_imports_none_of_the_big_libraries() -> None:
    """The reason why it is quick, which no busy machine can hide."""
    code = (
        "import sys\nsys.argv = ['bankmirror', '--help']\nfrom bankmirror.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "big = {'fastapi', 'psycopg', 'pydantic', 'httpx', 'alembic', 'sqlalchemy', 'psutil'}\n"
        "print(*(big & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60)

    assert answer.stdout.splitlines()[-1] == ""


def test_version_is_that_of_the_package() -> None:
    """One version, said in two places."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert bankmirror.__version__ == project["version"]
    assert ask("--version").stdout == f"bankmirror {project['version']}\n"


def test_unknown_command() -> None:
    """As everywhere: exit code 2 and a hint, on standard error."""
    answer = ask("unp")

    assert (answer.returncode, answer.stdout) == (2, "")
    assert "unp" in answer.stderr


def test_ingest_has_its_two_ways() -> None:
    """`ingest` alone runs for ever, so help is how to learn of `once`."""
    assert "once" in ask("ingest", "--help").stdout
    assert "--accounts" in ask("sandbox", "--help").stdout


def test_an_id_that_no_entry_can_have() -> None:
    """Larger than a bigint: the usage says so, and not a traceback of the database's."""
    for command in (["show"], ["retry"], ["resolve", "--reason", "x"]):
        answer = ask("quarantine", *command, "99999999999999999999")

        assert answer.returncode == 2
        assert "Traceback" not in answer.stderr
        assert "Invalid value for" in answer.stderr
