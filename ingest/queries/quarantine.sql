-- Rows that were refused.

-- name: quarantine_upsert
-- Keep a refused row as it came. Seen again it stays one entry, and is open again if it was resolved, unless somebody
-- answers for these very bytes.
INSERT INTO sync.quarantine AS kept (
    connection_id, account_id, feed, transaction_id, day, reason, raw, raw_sha256, run_id)
SELECT %(connection_id)s, account_id, %(feed)s, transaction_id, day, reason, raw, sha256(raw), %(run_id)s
  FROM (SELECT DISTINCT ON (account_id, raw) account_id, transaction_id, day, reason, raw
          FROM unnest(%(accounts)s::text[], %(ids)s::text[], %(days)s::date[], %(reasons)s::text[], %(raws)s::bytea[])
               AS refused (account_id, transaction_id, day, reason, raw)
         ORDER BY account_id, raw) AS refused
ON CONFLICT (connection_id, account_id, feed, raw_sha256) DO UPDATE
   SET last_seen_at = now(), times_seen = kept.times_seen + 1, run_id = excluded.run_id, reason = excluded.reason,
       resolved_at = CASE WHEN kept.resolution = 'by hand' THEN kept.resolved_at END,
       resolution = CASE WHEN kept.resolution = 'by hand' THEN kept.resolution END;

-- name: quarantine_mend
-- Transactions that come well now, or are removed: what was refused of them is settled.
UPDATE sync.quarantine AS kept
   SET resolved_at = now(), resolution = 'came well'
  FROM (SELECT account_id, transaction_id FROM incoming
        UNION ALL
        SELECT * FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]))
       AS told (account_id, transaction_id)
 WHERE (kept.connection_id, kept.feed) = (%(connection_id)s, 'transactions')
   AND (kept.account_id, kept.transaction_id) = (told.account_id, told.transaction_id)
   AND kept.resolved_at IS NULL;

-- name: quarantine_resolve
-- A complete pass did not show these again although it shows everything, or all of their days: the bank mended or removed
-- them. The first and the last day are left out: in the bank's zone they may be other days.
UPDATE sync.quarantine
   SET resolved_at = now(), resolution = 'not shown'
 WHERE (connection_id, feed) = (%(connection_id)s, %(feed)s)
   AND %(account_id)s IN ('', account_id)
   AND resolved_at IS NULL
   AND (%(shows_all)s OR (day > %(first)s::date AND day < %(last)s::date))
   AND run_id <= %(last_complete)s;

-- name: quarantine_count
-- How many refused rows of a connection are open.
SELECT count(*) AS open FROM sync.quarantine WHERE connection_id = %(connection_id)s AND resolved_at IS NULL;

-- name: quarantine_list
-- The entries, open ones first; resolved ones if asked for.
SELECT quarantine_id, connection_id, account_id, feed, transaction_id, day, reason, raw, first_seen_at, last_seen_at,
       times_seen, resolved_at, resolution, resolved_by, resolved_why
  FROM sync.quarantine
 WHERE (resolved_at IS NULL OR %(all)s) AND (%(quarantine_id)s::bigint IS NULL OR quarantine_id = %(quarantine_id)s)
 ORDER BY resolved_at IS NOT NULL, quarantine_id
 LIMIT %(rows)s;

-- name: quarantine_open_rows
-- Open entries of transactions with what was kept of them, the newest word of the bank last.
SELECT quarantine_id, connection_id, account_id, transaction_id, reason, raw, last_seen_at
  FROM sync.quarantine
 WHERE connection_id = %(connection_id)s AND feed = 'transactions' AND resolved_at IS NULL
   AND (%(ids)s::bigint[] IS NULL OR quarantine_id = ANY (%(ids)s::bigint[]))
 ORDER BY last_seen_at, run_id, quarantine_id;

-- name: quarantine_open_others
-- Of these, the open entries of accounts and balances: every poll reads all of those anyway.
SELECT quarantine_id FROM sync.quarantine
 WHERE connection_id = %(connection_id)s AND feed <> 'transactions' AND resolved_at IS NULL
   AND (%(ids)s::bigint[] IS NULL OR quarantine_id = ANY (%(ids)s::bigint[]));

-- name: quarantine_newer
-- Of rows that were kept, those of which the bank has told something newer since, and where it is: `mirror` when another
-- version is mirrored or was, `open` when a later entry waits too, `settled` when somebody resolved the entry meanwhile.
SELECT told.quarantine_id,
       CASE WHEN kept.resolved_at IS NOT NULL THEN 'settled' WHEN is_mirrored THEN 'mirror' ELSE 'open' END AS newer
  FROM unnest(%(ids)s::bigint[], %(accounts)s::text[], %(transactions)s::text[])
       AS told (quarantine_id, account_id, transaction_id)
  JOIN sync.quarantine AS kept USING (quarantine_id)
 CROSS JOIN LATERAL (
       SELECT EXISTS (SELECT FROM snapshot.transactions AS stored
                       WHERE (stored.account_id, stored.transaction_id) = (told.account_id, told.transaction_id)
                         AND stored.known_from > kept.last_seen_at)
           OR EXISTS (SELECT FROM snapshot.transaction_revisions AS ended
                       WHERE (ended.account_id, ended.transaction_id) = (told.account_id, told.transaction_id)
                         AND ended.known_to > kept.last_seen_at) AS is_mirrored,
              EXISTS (SELECT FROM sync.quarantine AS other
                       WHERE (other.connection_id, other.feed) = (kept.connection_id, kept.feed)
                         AND (other.account_id, other.transaction_id) = (told.account_id, told.transaction_id)
                         AND other.resolved_at IS NULL
                         AND other.quarantine_id <> ALL (%(ids)s::bigint[])
                         AND (other.last_seen_at, other.run_id, other.quarantine_id)
                           > (kept.last_seen_at, kept.run_id, kept.quarantine_id)) AS is_open) AS since
 WHERE kept.resolved_at IS NOT NULL OR is_mirrored OR is_open;

-- name: quarantine_close
-- Entries that are settled now: read again, or superseded by what the bank told since.
UPDATE sync.quarantine SET resolved_at = now(), resolution = %(resolution)s
 WHERE quarantine_id = ANY (%(ids)s::bigint[]) AND (resolved_at IS NULL OR resolved_at = now());

-- name: quarantine_resolve_by_hand
-- Somebody answers for an open entry.
UPDATE sync.quarantine
   SET resolved_at = now(), resolution = 'by hand', resolved_by = %(by)s, resolved_why = %(why)s
 WHERE quarantine_id = %(quarantine_id)s AND resolved_at IS NULL
RETURNING account_id;

-- name: target_of_transactions
-- The target that reads an account's transactions.
SELECT account_id FROM sync.targets
 WHERE connection_id = %(connection_id)s AND feed = 'transactions' AND in_use AND account_id = ANY (ARRAY['', %(account_id)s]);
