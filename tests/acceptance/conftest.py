"""One running system for all tests that leave it well; those that do not have one of their own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.system import System, running


@pytest.fixture(scope="session")
def shared_system() -> Iterator[System]:
    """`bankmirror up`, started once. A test that breaks something waits until it has healed."""
    home = Path(tempfile.mkdtemp(prefix="bankmirror-home-"))
    # pytest's own directories, and this one as it is made, are closed to PostgreSQL's account.
    home.chmod(0o755)
    try:
        with running(home) as system:
            yield system
    finally:
        shutil.rmtree(home, ignore_errors=True)
