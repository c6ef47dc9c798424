"""`schema/current.sql` is what the revisions add up to."""

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from schema.dump import CURRENT, dump


def test_current_sql_builds_the_migrated_schema(server_url: str, database_url: str) -> None:
    """A database made from the file and one made by the revisions have the same schema, to the letter."""
    name = f"current_{conninfo_to_dict(database_url)['dbname']}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            from_file = make_conninfo(server_url, dbname=name)
            with psycopg.connect(from_file) as connection:
                connection.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
                # The file is in the order of a dump, where a function may stand before the table that it names.
                connection.execute("SET check_function_bodies = off")
                connection.execute(CURRENT.read_bytes())

            assert dump(from_file) == dump(database_url)
        finally:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
