-- What became of each poll, and what follows a poll.

-- name: run_advance
-- Add what a changeset did to its run. The transaction id is kept only if transactions changed: views follow it.
UPDATE sync.runs
   SET outcome = %(outcome)s,
       finished_at = CASE WHEN %(outcome)s <> 'running' THEN clock_timestamp() END,
       pages = pages + %(pages)s,
       rows_seen = rows_seen + %(rows_seen)s,
       rows_changed = rows_changed + %(rows_changed)s,
       rows_removed = rows_removed + %(rows_removed)s,
       rows_refused = rows_refused + %(rows_refused)s,
       cursor_from = %(cursor_from)s,
       cursor_to = %(cursor_to)s,
       bank_as_of = coalesce(%(bank_as_of)s, bank_as_of),
       error = %(error)s,
       txid = CASE WHEN feed = 'transactions' AND %(rows_changed)s + %(rows_removed)s > 0 THEN pg_current_xact_id()
                   ELSE txid END
 WHERE run_id = %(run_id)s;

-- name: run_end
-- Close a run that stored nothing more: failed, throttled or fenced.
UPDATE sync.runs
   SET outcome = %(outcome)s, finished_at = clock_timestamp(), error = %(error)s
 WHERE run_id = %(run_id)s AND outcome = 'running';

-- name: run_last_complete
-- The last run of a target that reached the terminal page; 0 when none did.
SELECT coalesce(
    (SELECT run_id FROM sync.runs
      WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s) AND outcome = 'complete'
      ORDER BY run_id DESC LIMIT 1), 0) AS run_id;

-- name: changed_notify
-- Tell listeners which accounts changed; they hear it when the transaction commits, and not before.
SELECT pg_notify('bankmirror_changed', %(payload)s);

-- name: account_notify
-- Tell listeners that answers about one account are no longer true.
SELECT pg_notify('bankmirror_changed', sync.accounts_payload(%(account_id)s));

-- name: runs_prune
-- Forget old runs: after a day those that changed no transactions, after a month all. The newest of each target stays.
DELETE FROM sync.runs AS run
 WHERE run.outcome <> 'running'
   AND run.finished_at < now() - CASE WHEN run.txid IS NULL AND run.outcome = 'complete'
                                      THEN interval '1 day' ELSE interval '31 days' END
   AND EXISTS (
       SELECT FROM sync.runs AS newer
        WHERE (newer.connection_id, newer.account_id, newer.feed) = (run.connection_id, run.account_id, run.feed)
          AND newer.run_id > run.run_id
          AND newer.outcome = 'complete');

-- name: webhook_take
-- Take a message that the bank signed; no row when it was taken before.
INSERT INTO sync.webhooks (signature, connection_id, event)
VALUES (%(signature)s, %(connection_id)s, %(event)s)
ON CONFLICT (signature) DO NOTHING
RETURNING true AS taken;

-- name: webhooks_prune
-- Forget messages that are refused for their age by now; twice the window, because our clock and the bank's differ.
DELETE FROM sync.webhooks WHERE received_at < now() - make_interval(secs => %(keep_seconds)s);

-- name: views_refresh
-- Refresh the materialized views if something changed; true when it did.
SELECT read.refresh() AS refreshed;
