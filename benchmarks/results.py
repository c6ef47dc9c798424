"""What was measured, kept as JSON beside the page, so that one part can be measured again without the others."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.growth import Grown
from benchmarks.load import Load
from benchmarks.questions import Read
from benchmarks.reads import Crowd, Memory, Reads, Size
from benchmarks.side import Side


class Results(NamedTuple):
    """The parts that were ever measured."""

    side: Side | None = None
    grown: tuple[Grown, ...] = ()
    reads: Reads | None = None


def save(results: Results, path: Path) -> None:
    """Write them down."""
    path.write_text(json.dumps(_plain(results), indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> Results:
    """What was written down; nothing where nothing was."""
    if not path.exists():
        return Results()
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Results(
        side=Side(**kept["side"]) if kept["side"] else None,
        grown=tuple(Grown(**size) for size in kept["grown"]),
        reads=_reads(kept["reads"]) if kept["reads"] else None,
    )


def _reads(kept: Mapping[str, Any]) -> Reads:
    size = Size(**{**kept["size"], "crowds": tuple(kept["size"]["crowds"])})
    memory = Memory(kept["memory"]["urls"], tuple(kept["memory"]["bytes_at"]))
    crowds = [Crowd(crowd["way"], crowd["connections"], Load(**crowd["load"])) for crowd in kept["crowds"]]
    rounds = {name: [Load(**load) for load in loads] for name, loads in kept["rounds"].items()}
    questions = [Read(**one) for one in kept["questions"]]
    alone = Load(**kept["alone"])
    return Reads(size, rounds, crowds, kept["changes_per_second"], memory, questions, kept["described_bytes"], alone)


def _plain(value: Any) -> Any:
    """Named tuples as objects, all the way down."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(member) for name, member in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    return value
