-- Accounts and their balances: each listed as a whole, stored in one transaction.

-- name: accounts_changed
-- Which of the listed accounts are new or different; which ones came or went against the last complete listing; and how
-- many open ones we hold, are not listed, and were listed until now.
SELECT coalesce(array_agg(listed.account_id) FILTER (
           WHERE listed.account_id IS NOT NULL
             AND (stored.name, stored.type, stored.currency, stored.status)
                 IS DISTINCT FROM (listed.name, listed.type, listed.currency, listed.status)), '{}') AS changed,
       coalesce(array_agg(stored.account_id) FILTER (WHERE was_listed <> (listed.account_id IS NOT NULL)), '{}') AS turned,
       count(*) FILTER (WHERE is_absent) AS absent,
       count(*) FILTER (WHERE is_absent AND is_recent) AS absent_lately,
       count(*) FILTER (WHERE stored.status = 'open') AS held,
       coalesce(array_agg(stored.account_id) FILTER (WHERE is_absent), '{}') AS absent_ids
  FROM unnest(%(ids)s::text[], %(names)s::text[], %(types)s::text[], %(currencies)s::text[], %(statuses)s::text[])
       AS listed (account_id, name, type, currency, status)
  FULL JOIN (
       SELECT account.*,
              account.last_seen_at >= target.synced_at AS was_listed,
              account.last_seen_at > now() - make_interval(secs => 2 * target.interval_seconds + 2) AS is_recent
         FROM snapshot.accounts AS account
         JOIN sync.targets AS target
           ON (target.connection_id, target.account_id, target.feed) = (account.connection_id, '', 'accounts')
        WHERE account.connection_id = %(connection_id)s) AS stored USING (account_id)
 CROSS JOIN LATERAL (
       SELECT stored.status = 'open' AND listed.account_id IS NULL
              AND stored.account_id <> ALL (%(refused_ids)s::text[] || %(let_go)s::text[])
              -- It is asked about already, as one that may be listed under a new id.
              AND NOT EXISTS (SELECT FROM sync.account_links AS link
                               WHERE link.account_id = stored.account_id AND link.state = 'suggested')
              AS is_absent) AS judged;

-- name: accounts_upsert
-- Store the listed accounts. One that is no longer listed stays: its history does.
INSERT INTO snapshot.accounts AS stored (account_id, connection_id, name, type, currency, status)
SELECT account_id, %(connection_id)s, name, type, currency, status
  FROM unnest(%(ids)s::text[], %(names)s::text[], %(types)s::text[], %(currencies)s::text[], %(statuses)s::text[])
       AS listed (account_id, name, type, currency, status)
 ORDER BY account_id
ON CONFLICT (account_id) DO UPDATE
   SET name = excluded.name, type = excluded.type, currency = excluded.currency, status = excluded.status,
       last_seen_at = now()
 WHERE stored.connection_id = excluded.connection_id;

-- name: balances_absent
-- How many open accounts of which we hold a balance have none in a listing of all of them, and had one until now.
SELECT count(*) FILTER (WHERE is_absent) AS absent,
       count(*) FILTER (WHERE is_absent AND is_recent) AS absent_lately,
       count(*) AS held,
       coalesce(array_agg(account_id) FILTER (WHERE is_absent), '{}') AS absent_ids
  FROM (SELECT account.account_id,
               account.account_id <> ALL (%(ids)s::text[] || %(refused_ids)s::text[] || %(let_go)s::text[])
               AND NOT EXISTS (SELECT FROM sync.account_links AS link
                                WHERE link.account_id = account.account_id AND link.state = 'suggested') AS is_absent,
               max(balance.synced_at) > now() - make_interval(secs => 2 * max(target.interval_seconds) + 2) AS is_recent
          FROM snapshot.accounts AS account
          JOIN snapshot.balances AS balance USING (account_id)
          JOIN sync.targets AS target
            ON (target.connection_id, target.account_id, target.feed) = (account.connection_id, '', 'balances')
         WHERE account.connection_id = %(connection_id)s AND account.status = 'open'
         GROUP BY account.account_id) AS known;

-- name: balances_upsert
-- Store balances of known accounts. A late poll never overwrites a newer one: banks answer out of order under load.
INSERT INTO snapshot.balances AS stored (account_id, currency, current_minor, available_minor, as_of, run_id)
SELECT listed.account_id, listed.currency, current_minor, available_minor, as_of, %(run_id)s
  FROM unnest(%(ids)s::text[], %(currencies)s::text[], %(currents)s::bigint[], %(availables)s::bigint[],
              %(as_ofs)s::timestamptz[]) AS listed (account_id, currency, current_minor, available_minor, as_of)
  JOIN snapshot.accounts AS account USING (account_id)
 ORDER BY listed.account_id, listed.currency
ON CONFLICT (account_id, currency) DO UPDATE
   SET current_minor = excluded.current_minor, available_minor = excluded.available_minor, as_of = excluded.as_of,
       synced_at = now(), run_id = excluded.run_id
 WHERE stored.as_of <= excluded.as_of
RETURNING account_id;

-- name: balance_history_extend
-- Move last_seen_at of the newest kept balance where it is still what the bank says.
UPDATE snapshot.balance_snapshots AS kept
   SET last_seen_at = now()
  FROM snapshot.balances AS balance,
       LATERAL (SELECT known_from FROM snapshot.balance_snapshots AS newest
                 WHERE (newest.account_id, newest.currency) = (balance.account_id, balance.currency)
                 ORDER BY known_from DESC LIMIT 1) AS newest
 WHERE balance.account_id = ANY (%(ids)s) AND balance.run_id = %(run_id)s
   AND (kept.account_id, kept.currency, kept.known_from) = (balance.account_id, balance.currency, newest.known_from)
   AND (kept.current_minor, kept.available_minor)
       IS NOT DISTINCT FROM (balance.current_minor, balance.available_minor);

-- name: balance_history_append
-- Keep each balance that differs from the one before it.
INSERT INTO snapshot.balance_snapshots (account_id, currency, current_minor, available_minor, as_of, known_from, run_id)
SELECT account_id, currency, current_minor, available_minor, as_of,
       greatest(now(), newest.known_from + interval '1 us'), run_id
  FROM snapshot.balances AS balance
  LEFT JOIN LATERAL (
       SELECT current_minor, available_minor, known_from FROM snapshot.balance_snapshots AS newest
        WHERE (newest.account_id, newest.currency) = (balance.account_id, balance.currency)
        ORDER BY known_from DESC LIMIT 1) AS newest (newest_current, newest_available, known_from) ON true
 WHERE account_id = ANY (%(ids)s) AND run_id = %(run_id)s
   AND (newest.known_from IS NULL
        OR (current_minor, available_minor) IS DISTINCT FROM (newest_current, newest_available))
RETURNING account_id;

-- name: accounts_unknown
-- Which of these ids are not listed as accounts yet. One that is held back as another account's new id is.
SELECT DISTINCT id FROM unnest(%(ids)s::text[]) AS id
 WHERE NOT EXISTS (SELECT FROM snapshot.accounts WHERE account_id = id)
   AND NOT EXISTS (SELECT FROM sync.account_links WHERE listed_id = id AND state = 'suggested');
