"""Identity: which ids are one and the same transaction or account, and how we know."""

from schema.revision import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the SQL beside this file."""
    run_sql(__file__)
