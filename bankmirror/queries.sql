-- What the command asks the mirror for `up`, `status` and `doctor`. It runs as the owner and changes nothing. Only what
-- gives out tokens and takes them back, at the end, is in a role of its own and writes.

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

-- name: tokens_count
-- How many tokens there are that a caller could come in with.
SELECT count(*) AS good
  FROM access.tokens
 WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AND environment = %(environment)s;

-- name: access_enter
-- Who acts, for the audit chain; and all accounts, to see whether those exist that a token is to be for.
SELECT set_config('bankmirror.actor', %(actor)s, true), set_config('bankmirror.accounts', '*', true);

-- name: accounts_missing
-- Those of the given ids that are no mirrored accounts, in the order in which they are given.
SELECT asked.account_id
  FROM unnest(%(account_ids)s::text[]) WITH ORDINALITY AS asked (account_id, place)
 WHERE NOT EXISTS (SELECT FROM read.accounts WHERE accounts.account_id = asked.account_id)
 ORDER BY asked.place;

-- name: token_insert
-- Give out a token, for a length of time or until a moment; for ever without either.
INSERT INTO access.tokens (token_id, principal, name, environment, digest, scopes, accounts, requests_per_minute,
                           bytes_per_day, created_by, expires_at)
VALUES (%(token_id)s, %(principal)s, %(name)s, %(environment)s, %(digest)s, %(scopes)s, %(accounts)s, %(requests_per_minute)s,
        %(bytes_per_day)s, %(actor)s, coalesce(%(until)s::timestamptz, now() + %(lifetime)s::interval));

-- name: tokens_list
-- Tokens by name, the one of a name that is in use first, with when they were used last and what they are now.
SELECT token.token_id, token.principal, token.name, token.environment, token.scopes, token.accounts,
       token.requests_per_minute, token.bytes_per_day, token.created_at, token.created_by, token.expires_at,
       token.revoked_at, token.replaced_by, usage.last_used_at,
       CASE WHEN token.revoked_at IS NOT NULL THEN 'revoked'
            WHEN token.expires_at <= now() THEN 'expired'
            WHEN token.replaced_by IS NOT NULL THEN 'rotated'
            ELSE 'good' END AS state
  FROM access.tokens AS token
  LEFT JOIN access.usage USING (token_id)
 WHERE %(which)s::text IS NULL OR token.token_id = %(which)s OR token.name = %(which)s
 ORDER BY token.name, token.revoked_at IS NOT NULL, token.replaced_by IS NOT NULL, token.created_at DESC;

-- name: token_retire
-- A token that is exchanged for another one goes on for a while, and no longer than it would have.
UPDATE access.tokens
   SET replaced_by = %(replaced_by)s, expires_at = least(expires_at, now() + %(overlap)s::interval)
 WHERE token_id = %(token_id)s;

-- name: tokens_revoke
-- Take tokens back, at once and for good.
UPDATE access.tokens SET revoked_at = now() WHERE token_id = ANY (%(token_ids)s) AND revoked_at IS NULL;

-- name: reads_list
-- Read receipts, newest first: of a token (by id or name), of a moment's span, of an answer's hash (its beginning in
-- hexadecimal), and of questions that name an account. An account's id may be percent-encoded in more than one way.
SELECT token_id, caller, target, status, version, encode(result_sha256, 'hex') AS result_sha256, first_at, last_at, times, worker
  FROM audit.reads
 WHERE (%(who)s::text IS NULL OR token_id = %(who)s OR caller = %(who)s)
   AND (%(since)s::timestamptz IS NULL OR last_at >= %(since)s)
   AND (%(until)s::timestamptz IS NULL OR first_at <= %(until)s)
   AND (%(hash_from)s::bytea IS NULL OR result_sha256 BETWEEN %(hash_from)s AND %(hash_to)s)
   AND (%(account_ids)s::text[] IS NULL
        OR split_part(split_part(target, '?', 1), '/', 4) = ANY (%(account_ids)s)
           AND starts_with(target, '/banking/accounts/')
        OR substring(target FROM '[?&]account_id=([^&]*)') = ANY (%(account_ids)s))
 ORDER BY last_at DESC, read_id DESC
 LIMIT %(limit)s::bigint;
