"""The import rules of pyproject.toml can fail: here they do, on empty packages with one wrong import."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Every package of ours, empty, under our rules."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in settings["tool"]["importlinter"]["root_packages"]:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    return tmp_path


def broken_contracts(tree: Path) -> list[str]:
    """The names of the contracts that import-linter finds broken."""
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([program, "--no-cache"], cwd=tree, capture_output=True, text=True, check=False)
    broken = [line.removesuffix(" BROKEN") for line in done.stdout.splitlines() if line.endswith(" BROKEN")]
    assert (done.returncode != 0) == bool(broken), done.stdout + done.stderr
    return broken


def test_rules_hold_on_an_innocent_tree(tree: Path) -> None:
    """Without a wrong import nothing is broken; so what the tests below see is the wrong import."""
    (tree / "readapi" / "app.py").write_text("import kernel\n")
    (tree / "ingest" / "app.py").write_text("import banks, kernel, httpx, apscheduler\n")
    (tree / "bankmirror" / "cli.py").write_text("import ingest, readapi, transfers, sandbox, schema\n")
    assert broken_contracts(tree) == []


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("readapi", "banks", "The read API can reach neither"),
        ("readapi", "httpx", "The read API can reach neither"),
        ("readapi", "httpx2", "The read API can reach neither"),
        ("readapi", "apscheduler", "The read API can reach neither"),
        ("readapi", "transfers", "Each knows only what is below"),
        ("transfers", "ingest", "Each knows only what is below"),
        ("banks", "ingest", "Each knows only what is below"),
        ("kernel", "banks", "Each knows only what is below"),
        ("ingest", "bankmirror", "Each knows only what is below"),
        ("sandbox", "kernel", "The sandbox bank shares no code"),
        ("schema", "kernel", "The schema imports nothing of ours"),
        ("ingest", "schema", "No process migrates"),
    ],
)
def test_wrong_import_is_found(tree: Path, importer: str, imported: str, contract: str) -> None:
    """Who imports what it must not, breaks the contract that says so."""
    (tree / importer / "wrong.py").write_text(f"import {imported}\n")
    assert any(name.startswith(contract) for name in broken_contracts(tree))


def test_reader_cannot_reach_the_network_through_the_kernel(tree: Path) -> None:
    """What the read API may import must not lead it to what it may not."""
    (tree / "kernel" / "net.py").write_text("import httpx\n")
    (tree / "readapi" / "app.py").write_text("import kernel.net\n")
    [broken] = broken_contracts(tree)
    assert broken.startswith("The read API can reach neither")


def test_the_read_api_uses_no_client_of_the_agents_protocol() -> None:
    """mcp is one package with two sides; the read API is a server, and reaches nobody by way of the other one."""
    imports = re.compile(r"^\s*(?:from|import) mcp\.client|^\s*from mcp import .*Client", re.MULTILINE)
    found = [path for path in (ROOT / "readapi").rglob("*.py") if imports.search(path.read_text())]
    assert found == []
    assert imports.search("from mcp.client.session import ClientSession") is not None
