"""Old runs are forgotten, and nothing that anybody still asks about."""

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ingest import store
from kernel.database import Pool


async def test_runs_are_forgotten_by_age_and_use(pool: Pool, owner: AsyncConnection[TupleRow]) -> None:
    """After a day those that changed nothing, after a month all; the newest complete one of a target stays for ever."""
    await owner.execute(
        """
        INSERT INTO sync.runs (connection_id, account_id, feed, lease_epoch, finished_at, outcome, txid, cursor_to)
        SELECT 'default', '', feed, 1, now() - age, outcome, txid, label
          FROM (VALUES
            ('transactions', 'complete', interval '40 days', '7'::xid8, 'changed long ago'),
            ('transactions', 'failed',   interval '20 days', NULL,      'failed'),
            ('transactions', 'complete', interval '20 days', '8'::xid8, 'changed'),
            ('transactions', 'complete', interval '2 days',  NULL,      'quiet long ago'),
            ('transactions', 'complete', interval '1 hour',  NULL,      'quiet'),
            ('balances',     'complete', interval '90 days', NULL,      'the last of its target'))
               AS run (feed, outcome, age, txid, label)
        """
    )

    assert await store.prune_runs(pool) == 2

    kept = await (await owner.execute("SELECT cursor_to FROM sync.runs ORDER BY 1")).fetchall()
    assert kept == [("changed",), ("failed",), ("quiet",), ("the last of its target",)]
