"""Read receipts."""

from schema.revision import run_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_sql(__file__)
