"""Pace: how often a feed is asked, how many requests a connection may make, and who asked for it."""

from schema.revision import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_sql(__file__)
