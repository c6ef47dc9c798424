"""A mirror that is filled in seconds, for what reads it: by SQL, as ingest would have left it."""

from pathlib import Path

import psycopg
from psycopg import sql

from kernel.sql import parse_queries

QUERIES = parse_queries((Path(__file__).parent / "filled.sql").read_text(encoding="utf-8"))


def account_id(number: int) -> str:
    """The id of one of the accounts."""
    return f"acct_{number:04d}"


def fill(database_url: str, accounts: int, per_account: int) -> None:
    """Fill a migrated, empty database. A million transactions take half a minute."""
    size = {"accounts": accounts, "per_account": per_account}
    with psycopg.connect(database_url, autocommit=True) as connection:
        with connection.transaction():
            # A transfer's triggers would insist on the whole way to its state.
            connection.execute("SET LOCAL session_replication_role = replica")
            for query in QUERIES.values():
                connection.execute(query, size)
        # What autovacuum does within minutes, done before anything is measured.
        connection.execute(sql.SQL("VACUUM ANALYZE"))
        connection.execute(sql.SQL("CHECKPOINT"))
