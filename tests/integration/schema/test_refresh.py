"""The materialized view: refreshed when something changed, never behind a late commit, labelled with what it holds."""

from datetime import date
from decimal import Decimal

import psycopg

Row = tuple[object, ...]


def insert_run(connection: psycopg.Connection[Row], account_id: str) -> None:
    """What a sync run does to the totals and to its own row, in the connection's open transaction."""
    connection.execute(
        "INSERT INTO snapshot.daily_totals VALUES (%s, %s, 'USD', 500, -200, 2)",
        [account_id, date(2026, 3, 2)],
    )
    connection.execute(
        """
        INSERT INTO sync.runs (connection_id, account_id, feed, lease_epoch, finished_at, outcome, rows_changed, txid)
        VALUES ('default', '', 'transactions', 1, clock_timestamp(), 'complete', 2, pg_current_xact_id())
        """
    )


def refresh(database_url: str) -> bool:
    """Refresh as the role that does it in production."""
    with psycopg.connect(database_url, options="-c role=bankmirror_ingest") as connection:
        row = connection.execute("SELECT read.refresh()").fetchone()
    assert row is not None
    return bool(row[0])


def shown(database_url: str) -> list[Row]:
    """What the reader sees."""
    with psycopg.connect(database_url, options="-c role=bankmirror_reader -c bankmirror.accounts=*") as connection:
        return connection.execute(
            'SELECT account_id, "in", out, net, running_net, entries FROM read.daily_cash_flow ORDER BY 1'
        ).fetchall()


def test_t57_first_refresh_and_what_it_shows(database_url: str) -> None:
    """The first refresh always runs; the next only after a run that changed something."""
    with psycopg.connect(database_url) as connection:
        insert_run(connection, "acct_1")

    assert refresh(database_url) is True
    assert refresh(database_url) is False
    assert shown(database_url) == [("acct_1", *map(Decimal, ("5.00", "-2.00", "3.00", "3.00")), 2)]


def test_a_run_that_commits_late_is_not_missed(database_url: str) -> None:
    """Run 1 commits after run 2 was refreshed: its rows are waited for by transaction, not by run id."""
    with psycopg.connect(database_url) as slow, psycopg.connect(database_url) as quick:
        insert_run(slow, "acct_slow")
        insert_run(quick, "acct_quick")
        quick.commit()
        assert refresh(database_url) is True
        slow.commit()

    assert refresh(database_url) is True
    assert [row[0] for row in shown(database_url)] == ["acct_quick", "acct_slow"]


def test_view_freshness_says_since_when_something_waits(database_url: str) -> None:
    """Between a commit and the next refresh the view is labelled as behind."""
    refresh(database_url)
    with psycopg.connect(database_url) as connection:
        insert_run(connection, "acct_1")
        finished = connection.execute("SELECT max(finished_at) FROM sync.runs").fetchone()
    with psycopg.connect(database_url, options="-c role=bankmirror_reader -c bankmirror.accounts=*") as connection:
        waiting = connection.execute("SELECT changes_waiting_since FROM read.view_freshness").fetchone()
    refresh(database_url)
    with psycopg.connect(database_url, options="-c role=bankmirror_reader -c bankmirror.accounts=*") as connection:
        after = connection.execute("SELECT changes_waiting_since FROM read.view_freshness").fetchone()

    assert waiting == finished
    assert after == (None,)


def test_t57_overlapping_refreshes_leave_it_to_the_first(database_url: str) -> None:
    """A second refresh at the same time returns at once instead of queueing behind the first."""
    with psycopg.connect(database_url) as holder:
        insert_run(holder, "acct_1")
        holder.commit()
        holder.execute("SELECT read.refresh()")

        assert refresh(database_url) is False


def test_t57_readers_see_the_old_rows_while_a_refresh_is_open(database_url: str) -> None:
    """CONCURRENTLY does not block readers, and an uncommitted refresh shows nothing."""
    refresh(database_url)
    with psycopg.connect(database_url) as holder:
        insert_run(holder, "acct_1")
        holder.commit()
        holder.execute("SELECT read.refresh()")

        assert shown(database_url) == []
        holder.commit()

    assert [row[0] for row in shown(database_url)] == ["acct_1"]


def test_t57_killed_in_the_middle_of_a_refresh(database_url: str) -> None:
    """The refresher's backend is ended before its commit: the old rows stay, are labelled as of their own refresh, and
    the next refresh is neither locked out nor satisfied with what was never shown.
    """
    refresh(database_url)
    with psycopg.connect(database_url) as connection:
        insert_run(connection, "acct_1")
        labelled = connection.execute("SELECT * FROM read.refreshes").fetchall()
    refresher = psycopg.connect(database_url, options="-c role=bankmirror_ingest")
    with psycopg.connect(database_url, autocommit=True) as killer:
        assert refresher.execute("SELECT read.refresh()").fetchone() == (True,)
        killer.execute("SELECT pg_terminate_backend(%s, 30000)", [refresher.info.backend_pid])
        refresher.close()
        assert killer.execute("SELECT * FROM read.refreshes").fetchall() == labelled

    assert shown(database_url) == []
    assert refresh(database_url) is True
    assert [row[0] for row in shown(database_url)] == ["acct_1"]


def test_a_restore_into_a_younger_cluster_is_noticed(database_url: str) -> None:
    """What was dumped holds another cluster's transaction ids: ahead of all of ours, for years perhaps."""
    ids_ahead = 1_000_000_000
    refresh(database_url)
    with psycopg.connect(database_url) as connection:
        insert_run(connection, "acct_1")
        connection.execute("UPDATE sync.runs SET txid = (txid::text::bigint + %s)::text::xid8", [ids_ahead])
        connection.execute(
            "UPDATE read.refreshes SET contains ="
            " format('%%1$s:%%1$s:', pg_snapshot_xmax(contains)::text::bigint + %s)::pg_snapshot",
            [ids_ahead + 1000],
        )

    assert refresh(database_url) is True
    assert [row[0] for row in shown(database_url)] == ["acct_1"]
    assert refresh(database_url) is False
    with psycopg.connect(database_url) as connection:
        insert_run(connection, "acct_2")
    assert refresh(database_url) is True
    assert [row[0] for row in shown(database_url)] == ["acct_1", "acct_2"]
