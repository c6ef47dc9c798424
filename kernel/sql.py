"""Named queries: each package keeps its SQL in `queries.sql`, and asks for a query by its name.

A package with more of it than one file should hold has a folder `queries` instead, with a file a subject.

The format is a line `-- name: noun_verb`, then a comment that describes the query, then the query:

    -- name: run_finish
    -- Close a run with its outcome and its counts.
    UPDATE sync.runs SET …;
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import LiteralString, cast

_HEADER = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)$", re.MULTILINE)


class QueryFileError(Exception):
    """A file of queries does not follow the format."""


def load_queries(package: str) -> Mapping[str, LiteralString]:
    """All queries of a package, by name. A name that is asked for and missing is a KeyError."""
    return parse_queries(read_queries(package))


def read_queries(package: str) -> str:
    """The text of a package's SQL: `queries.sql`, or all files of `queries/`."""
    folder = files(package).joinpath("queries")
    if not folder.is_dir():
        return files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    written = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return "\n".join(file.read_text(encoding="utf-8") for file in written)


def parse_queries(text: str) -> Mapping[str, LiteralString]:
    """Split SQL text into its named queries."""
    _, *parts = _HEADER.split(text)
    queries: dict[str, LiteralString] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise QueryFileError(f"query {name} is defined twice")
        if not body.lstrip().startswith("--"):
            raise QueryFileError(f"query {name} has no description")
        # The files are part of the program and never hold user input, which is what LiteralString vouches for.
        queries[name] = cast(LiteralString, body.strip())
    return MappingProxyType(queries)
