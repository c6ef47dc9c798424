"""What a revision needs: run the SQL file beside it."""

from pathlib import Path

from alembic import op


def run_sql(revision_file: str) -> None:
    """Run the `.sql` of the same name, as it stands.

    Through the driver, with parameters off: alembic's own `execute` would read `%` and `:name` inside the SQL.
    """
    sql = Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(sql, execution_options={"no_parameters": True})
