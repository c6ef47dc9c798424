"""Bring a database to the newest schema, or tell how far it is."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import psycopg

HEAD = "0014"


class SchemaError(Exception):
    """The database's schema is not the one this version works with."""


def upgrade(database_url: str) -> None:
    """Run every revision that is missing, in one transaction. Safe when two processes do it at once."""
    # Alembic takes most of a second to import, and every other command starts without it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("schema")))
    config.attributes["database_url"] = database_url
    command.upgrade(config, "head")


def current_revision(database_url: str) -> str | None:
    """The revision a database is at; None for one that was never migrated."""
    with psycopg.connect(database_url, connect_timeout=3) as connection:
        if connection.execute("SELECT to_regclass('public.alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT version_num FROM public.alembic_version").fetchone()
        return None if row is None else str(row[0])


def sqlalchemy_creator(conninfo: str) -> Callable[[], psycopg.Connection[Any]]:
    """How SQLAlchemy gets its connection: from the same URL that everything else uses."""
    return lambda: psycopg.connect(conninfo, connect_timeout=10, application_name="bankmirror migrate")
