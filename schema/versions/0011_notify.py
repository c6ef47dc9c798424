"""Notifications from the database itself, for what changes an answer without a poll."""

from schema.revision import run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_sql(__file__)
