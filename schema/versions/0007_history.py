"""History: the mirror as it was known at a moment, and why a past day changed."""

from schema.revision import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_sql(__file__)
