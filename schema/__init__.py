"""The database: alembic revisions as readable SQL, and the schema they add up to in `current.sql`."""
