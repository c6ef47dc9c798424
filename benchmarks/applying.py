"""Runs benchmarks.changes beside a measurement."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.processes import ROOT


@dataclass
class Applied:
    """How fast changes were applied; known at the end."""

    per_second: float = 0.0


@contextmanager
def applying(database_url: str, accounts: int, per_second: int) -> Iterator[Applied]:
    """Have changes applied until the end of the block."""
    told = [database_url, str(accounts), str(per_second)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.changes", *told], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    applied = Applied()
    try:
        if process.stdout.readline() != "applying\n":
            raise AssertionError("changes could not be applied")
        yield applied
        process.terminate()
        printed = process.stdout.readline()
        if not printed:
            raise AssertionError("changes ceased to be applied")
        result = json.loads(printed)
        applied.per_second = result["applied"] / result["seconds"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
