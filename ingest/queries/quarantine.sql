-- Rows that were refused.

-- name: quarantine_upsert
-- Keep a refused row as it came. Seen again it stays one entry, and is open again if it was resolved.
INSERT INTO sync.quarantine AS kept (
    connection_id, account_id, feed, transaction_id, day, reason, raw, raw_sha256, run_id)
SELECT %(connection_id)s, account_id, %(feed)s, transaction_id, day, reason, raw, sha256(raw), %(run_id)s
  FROM (SELECT DISTINCT ON (account_id, raw) account_id, transaction_id, day, reason, raw
          FROM unnest(%(accounts)s::text[], %(ids)s::text[], %(days)s::date[], %(reasons)s::text[], %(raws)s::bytea[])
               AS refused (account_id, transaction_id, day, reason, raw)
         ORDER BY account_id, raw) AS refused
ON CONFLICT (connection_id, account_id, feed, raw_sha256) DO UPDATE
   SET last_seen_at = now(), run_id = excluded.run_id, reason = excluded.reason, resolved_at = NULL
RETURNING xmax = 0 AS is_new;

-- name: quarantine_mend
-- Transactions that come well now, or are removed: what was refused of them is settled.
UPDATE sync.quarantine AS kept
   SET resolved_at = now()
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
   SET resolved_at = now()
 WHERE (connection_id, feed) = (%(connection_id)s, %(feed)s)
   AND %(account_id)s IN ('', account_id)
   AND resolved_at IS NULL
   AND (%(shows_all)s OR (day > %(first)s::date AND day < %(last)s::date))
   AND run_id <= %(last_complete)s;

-- name: quarantine_count
-- How many refused rows of a connection are open.
SELECT count(*) AS open FROM sync.quarantine WHERE connection_id = %(connection_id)s AND resolved_at IS NULL;
