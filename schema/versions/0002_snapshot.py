"""What the bank shows now, and what it showed before."""

from schema.revision import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_sql(__file__)
