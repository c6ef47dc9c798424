"""What was to be reached, and whether it was."""

from collections.abc import Sequence
from typing import NamedTuple

MIB = 2**20


class Bar(NamedTuple):
    """What was to be reached, and what was."""

    what: str
    wanted: str
    measured: float
    met: bool


def table(bars: Sequence[Bar]) -> list[str]:
    """A row for each; a miss is shown as a miss."""
    rows = [
        f"| {bar.what} | {bar.wanted} | {bar.measured:.2f} | {'met' if bar.met else '**missed**'} |" for bar in bars
    ]
    return ["| what | bar | measured | |", "|---|---|---:|---|", *rows, ""]
