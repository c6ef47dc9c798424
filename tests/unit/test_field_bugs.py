"""The table of field bugs is about tests that exist, and every test that is named after one is in it."""

import ast
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "reference" / "field-bugs.md"
IDS = range(1, 58)
# The sandbox's own tests show that it can do what others' banks did, not that we withstand it.
OF_THE_SANDBOX = "tests/sandbox/"


@cache
def listed() -> dict[int, list[str]]:
    """The patterns of each row, as path::name."""
    rows: dict[int, list[str]] = {}
    for line in TABLE.read_text().splitlines():
        if row := re.fullmatch(r"\| T(\d+) \| .+ \| .+ \| (.+) \|", line):
            assert int(row[1]) not in rows, f"T{row[1]} is there twice"
            rows[int(row[1])] = re.findall(r"`(tests/[^`]+)`", row[2])
    return rows


@cache
def existing() -> frozenset[str]:
    """Every test function there is, as path::name."""
    return frozenset(
        f"{path.relative_to(ROOT).as_posix()}::{node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_every_bug_has_its_row() -> None:
    """In order, none left out."""
    assert list(listed()) == list(IDS)


@pytest.mark.parametrize("number", IDS)
def test_what_a_row_names_exists(number: int) -> None:
    """At least one test, and none that was renamed or removed since."""
    assert listed()[number]
    for pattern in listed()[number]:
        assert any(fnmatchcase(name, pattern) for name in existing()), pattern


def test_tests_that_carry_an_id_are_in_its_row() -> None:
    """So that who reads the table finds all that there is."""
    left_out = [
        (f"T{number}", name)
        for name in sorted(existing())
        if not name.startswith(OF_THE_SANDBOX)
        for number in map(int, re.findall(r"_t(\d+)(?=_)", name.partition("::")[2]))
        if number in IDS and not any(fnmatchcase(name, pattern) for pattern in listed()[number])
    ]

    assert left_out == []
