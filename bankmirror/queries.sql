-- What the command asks the mirror for `up`, `status` and `doctor`. It runs as the owner and changes nothing.

-- name: database_describe
-- The server's version, the database's name and size in bytes, and the server's clock.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::int AS version_num,
       current_database() AS name,
       pg_database_size(current_database()) AS size_bytes,
       clock_timestamp() AS now;

-- name: sync_progress
-- How far the mirror is: whether every feed was read to its end and is fresh, what was read so far, the last complaint.
SELECT count(*) AS targets,
       coalesce(bool_and(target.parked_reason IS NOT NULL
                         OR (target.complete AND target.synced_at IS NOT NULL AND target.fresh_until > now())), false) AS done,
       (SELECT count(*) FROM snapshot.accounts) AS accounts,
       (SELECT coalesce(sum(rows_changed), 0)::bigint FROM sync.runs WHERE feed = 'transactions') AS rows_changed,
       max(target.last_error) FILTER (WHERE target.failures > 0) AS last_error
  FROM sync.targets AS target
 WHERE target.in_use;

-- name: account_example
-- The account that an example is shown with: the sandbox's first one, else any.
SELECT account_id FROM read.accounts ORDER BY account_id <> 'acct_123', status <> 'open', account_id LIMIT 1;

-- name: mirror_count
-- How much is in the mirror, and the sum of all transactions by currency as decimal strings.
SELECT (SELECT count(*) FROM snapshot.accounts) AS accounts,
       (SELECT count(*) FROM snapshot.transactions) AS transactions,
       (SELECT coalesce(jsonb_object_agg(currency, total ORDER BY currency), '{}')
          FROM (SELECT currency, (sum(amount_minor) * min(unit))::text AS total
                  FROM snapshot.transactions JOIN snapshot.currencies USING (currency)
                 GROUP BY currency) AS sums) AS totals;

-- name: feeds_summarize
-- Each feed over all accounts: its worst verdict and why, how old it is, when it is asked again, who is asking now.
WITH judged AS (
    SELECT feed, max(verdict) AS verdict,
           (array_agg(reason ORDER BY verdict DESC, synced_at NULLS FIRST))[1] AS reason,
           (array_agg(remedy ORDER BY verdict DESC, synced_at NULLS FIRST))[1] AS remedy
      FROM read.feeds GROUP BY feed
)
SELECT target.feed,
       coalesce(judged.verdict::text, 'unknown') AS verdict,
       judged.reason,
       judged.remedy,
       count(*) AS targets,
       extract(epoch FROM now() - min(target.synced_at))::float8 AS age_seconds,
       extract(epoch FROM min(target.due_at) - now())::float8 AS due_in_seconds,
       count(*) FILTER (WHERE target.lease_until > now()) AS polled_now,
       count(*) FILTER (WHERE target.due_at + 2 * make_interval(secs => target.interval_seconds) < now()
                          AND target.lease_until < now()) AS overdue,
       count(*) FILTER (WHERE target.lease_holder IS NOT NULL AND target.lease_until < now()) AS abandoned
  FROM sync.targets AS target
  LEFT JOIN judged USING (feed)
 WHERE target.parked_reason IS NULL AND target.in_use
 GROUP BY target.feed, judged.verdict, judged.reason, judged.remedy
 ORDER BY target.feed;

-- name: runs_recent
-- The latest polls that changed something or went wrong, newest first.
SELECT feed, account_id, outcome, rows_seen, rows_changed, rows_removed, rows_refused, error,
       extract(epoch FROM now() - started_at)::float8 AS age_seconds,
       extract(epoch FROM finished_at - started_at)::float8 AS took_seconds
  FROM sync.runs
 WHERE rows_changed + rows_removed + rows_refused > 0 OR outcome NOT IN ('complete', 'running')
 ORDER BY run_id DESC
 LIMIT %(limit)s;

-- name: rows_count
-- How many rows the mirror's tables have: estimates of the server, exact only for small ones.
SELECT (SELECT count(*) FROM snapshot.accounts) AS accounts,
       (SELECT coalesce(sum(entries), 0)::bigint FROM snapshot.daily_totals) AS posted,
       (SELECT count(*) FROM snapshot.transactions WHERE status = 'pending') AS pending,
       (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'snapshot.transaction_revisions'::regclass) AS revisions,
       (SELECT count(*) FROM sync.quarantine WHERE resolved_at IS NULL) AS quarantined;

-- name: transfers_summarize
-- Transfers by state, with the age of the oldest in it.
SELECT state, count(*) AS transfers, extract(epoch FROM now() - min(created_at))::float8 AS oldest_seconds
  FROM transfer.transfers GROUP BY state ORDER BY state;

-- name: views_describe
-- Each materialized view, how long ago it was refreshed, and for how long changes have waited for the next refresh.
SELECT view_name,
       extract(epoch FROM now() - refreshed_at)::float8 AS age_seconds,
       extract(epoch FROM now() - changes_waiting_since)::float8 AS waiting_seconds
  FROM read.view_freshness;

-- name: privileges_check
-- What each role may do that matters most: each its own, and none another's.
SELECT role_name,
       has_table_privilege(role_name, 'read.feeds', 'SELECT') AS reads,
       has_table_privilege(role_name, 'snapshot.transactions', 'INSERT') AS mirrors,
       has_table_privilege(role_name, 'transfer.transfers', 'INSERT') AS transfers
  FROM unnest(%(roles)s::text[]) AS role_name;
