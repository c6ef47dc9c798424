"""The reader can read the read model and do nothing else, whatever its session is told (S4)."""

import psycopg
import pytest

from kernel.database import READER, conninfo
from tests.integration.readapi.mirror import Mirror

FORBIDDEN = [
    "INSERT INTO snapshot.accounts VALUES ('a', 'default', 'n', 't', 'USD', 'open')",
    "UPDATE snapshot.transactions SET amount_minor = 0",
    "DELETE FROM snapshot.balances",
    "SELECT * FROM snapshot.transactions",
    "SELECT * FROM snapshot.balance_snapshots",
    "SELECT * FROM sync.targets",
    "SELECT * FROM sync.quarantine",
    "SELECT * FROM transfer.transfers",
    "SELECT * FROM transfer.attempts",
    "SELECT * FROM audit.events",
    "SELECT * FROM audit.reads",
    "INSERT INTO audit.read_batches VALUES ('w', 1, now())",
    "SELECT audit.note_reads('w', 1, 90, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
    "SELECT * FROM read.daily_cash_flow_stored",
    "SELECT read.refresh()",
    "REFRESH MATERIALIZED VIEW read.daily_cash_flow_stored",
    "SELECT audit.append('reader', 'x', 'y', '{}')",
    "SELECT transfer.settle(1)",
    "INSERT INTO read.refreshes (view_name) VALUES ('x')",
    "UPDATE read.accounts SET status = 'closed'",
    "DELETE FROM read.accounts",
    "CREATE TABLE read.mine (x int)",
    "CREATE TABLE public.mine (x int)",
    "CREATE TEMPORARY TABLE mine (x int)",
    "CREATE FUNCTION read.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SELECT nextval('sync.runs_run_id_seq')",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_grants_hold_with_the_seatbelt_off(mirror: Mirror, statement: str) -> None:
    """`default_transaction_read_only` can be switched off by anyone; the grants cannot."""
    with psycopg.connect(conninfo(mirror.url, READER), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_the_seatbelt_is_on(mirror: Mirror) -> None:
    """A pool's session is read-only before anything is granted or not, and knows its time limits."""
    with psycopg.connect(conninfo(mirror.url, READER), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TEMPORARY TABLE mine (x int)")
        assert connection.execute("SHOW statement_timeout").fetchone() == ("5s",)


def test_the_check_above_can_fail(mirror: Mirror) -> None:
    """One grant too many is seen."""
    mirror.run("GRANT USAGE ON SCHEMA snapshot TO bankmirror_reader")
    mirror.run("GRANT SELECT ON snapshot.transactions TO bankmirror_reader")

    with psycopg.connect(conninfo(mirror.url, READER), autocommit=True) as connection:
        connection.execute("SELECT * FROM snapshot.transactions")
