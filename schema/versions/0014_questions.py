"""Indexes for what is asked."""

from schema.revision import run_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_sql(__file__)
