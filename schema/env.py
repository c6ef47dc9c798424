"""Alembic's entry: connect, take the migration lock, run what is missing, all in one transaction."""

import os

from alembic import context
from psycopg.conninfo import make_conninfo
from sqlalchemy import create_engine, pool

from schema.migrate import sqlalchemy_creator

# Any constant will do; it only has to be the same in every process that migrates.
MIGRATION_LOCK = 0x62616E6B


def run_migrations() -> None:
    """Upgrade on one connection. A second process waits at the lock, then finds nothing left to do."""
    database_url = context.config.attributes.get("database_url") or os.environ["DATABASE_URL"]
    engine = create_engine(
        "postgresql+psycopg://", creator=sqlalchemy_creator(make_conninfo(database_url)), poolclass=pool.NullPool
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context.configure(connection=connection, target_metadata=None, transactional_ddl=True)
        context.run_migrations()
        connection.commit()
    engine.dispose()


run_migrations()
