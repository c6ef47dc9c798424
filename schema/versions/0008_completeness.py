"""Completeness: covered days, posting lag, and the gate before a mass disappearance."""

from schema.revision import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_sql(__file__)
