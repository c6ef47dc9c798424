-- The mirror's side of `bankmirror verify`, and what excuses a difference. Nothing here changes anything.
--
-- The digest is made of the columns as they stand, not of content_hash, which a row that was changed by hand keeps.

-- name: days_tally
-- How many rows an account has for each day, status and currency, their sum, and the digest of their contents. The text
-- that is digested is that of ingest.tally.text_of: every field behind its length, so that no two rows look alike.
SELECT day, status, currency, count(*) AS entries, sum(amount_minor) AS sum_minor,
       bit_xor(('x' || encode(substr(sha256(convert_to(content, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint) AS digest
  FROM (SELECT coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) AS day, status, currency, amount_minor,
               length(transaction_id) || ':' || transaction_id || amount_minor || currency || status
               || length(type) || ':' || type || length(description) || ':' || description
               || coalesce(length(counterparty_name) || ':' || counterparty_name, '-')
               || coalesce(length(counterparty_account_id) || ':' || counterparty_account_id, '-')
               || coalesce(length(client_reference) || ':' || client_reference, '-')
               || coalesce(length(pending_transaction_id) || ':' || pending_transaction_id, '-')
               || (extract(epoch FROM created_at) * 1000000)::bigint
               || coalesce(to_char(booked_on, '@YYYY-MM-DD'), '-') AS content
          FROM snapshot.transactions
         WHERE account_id = %(account_id)s) AS entry
 WHERE (%(first)s::date IS NULL OR day >= %(first)s::date) AND (%(last)s::date IS NULL OR day <= %(last)s::date)
 GROUP BY day, status, currency;

-- name: rows_of_days
-- An account's rows of some days, at most so many, in the order of banks.ports.FetchedTransaction.
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash
  FROM snapshot.transactions
 WHERE account_id = %(account_id)s
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) = ANY (%(days)s::date[]);

-- name: rows_of_ids
-- An account's rows by their ids, whatever their days.
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash
  FROM snapshot.transactions
 WHERE account_id = %(account_id)s AND transaction_id = ANY (%(ids)s::text[]);

-- name: excuses_find
-- Why a row that only one side shows is no difference: it is in quarantine; it is a hold whose booking is shown; it was
-- not shown by one complete pass, and only a second one removes it.
SELECT id AS transaction_id,
       EXISTS (SELECT FROM sync.quarantine
                WHERE feed = 'transactions' AND quarantine.account_id IN (%(account_id)s, '')
                  AND transaction_id = id AND resolved_at IS NULL) AS is_quarantined,
       EXISTS (SELECT FROM snapshot.transactions AS posted
                WHERE posted.account_id = %(account_id)s AND posted.pending_transaction_id = id
                  AND posted.status = 'posted' AND posted.transaction_id <> id) AS is_booked,
       EXISTS (SELECT FROM sync.missing
                WHERE missing.account_id = %(account_id)s AND missing.transaction_id = id) AS is_awaited
  FROM unnest(%(ids)s::text[]) AS id;

-- name: quarantine_has
-- Which of these refused rows, by the digest of their bytes or by their id, are in quarantine and open.
SELECT DISTINCT refused.place
  FROM unnest(%(digests)s::bytea[], %(ids)s::text[]) WITH ORDINALITY AS refused (digest, id, place)
  JOIN sync.quarantine AS kept
    ON kept.connection_id = %(connection_id)s AND kept.feed = 'transactions' AND kept.resolved_at IS NULL
   AND kept.account_id IN (%(account_id)s, '')
   AND (kept.raw_sha256 = refused.digest OR (refused.id <> '' AND kept.transaction_id = refused.id));

-- name: accounts_stored
-- Every mirrored account with its balances, and the newest balance that the history has. The bank's feed for it may be
-- parked: then the account is gone at the bank, and its history stays.
SELECT account.account_id, account.name, account.type, account.currency, account.status,
       balance.currency AS balance_currency, balance.current_minor, balance.available_minor, balance.as_of,
       newest.current_minor AS history_current_minor, newest.available_minor AS history_available_minor,
       (SELECT min(target.parked_reason) FROM sync.targets AS target
         WHERE target.connection_id = account.connection_id AND target.account_id = account.account_id
           AND target.in_use) AS parked_reason
  FROM snapshot.accounts AS account
  LEFT JOIN snapshot.balances AS balance USING (account_id)
  LEFT JOIN LATERAL (
       SELECT current_minor, available_minor FROM snapshot.balance_snapshots AS kept
        WHERE (kept.account_id, kept.currency) = (balance.account_id, balance.currency)
        ORDER BY known_from DESC LIMIT 1) AS newest ON true
 WHERE account.connection_id = %(connection_id)s
   AND (%(account_id)s::text IS NULL OR account.account_id = %(account_id)s::text)
 ORDER BY account.account_id, balance.currency;

-- name: days_untied
-- Days whose rows do not add up to the total that was kept while they were stored.
SELECT account_id, booked_on AS day, currency,
       coalesce(total.entries, 0) AS total_entries, coalesce(total.in_minor + total.out_minor, 0) AS total_minor,
       coalesce(counted.entries, 0) AS entries, coalesce(counted.in_minor + counted.out_minor, 0) AS sum_minor
  FROM (SELECT * FROM snapshot.daily_totals
         WHERE %(account_id)s::text IS NULL OR account_id = %(account_id)s::text) AS total
  FULL JOIN (
       SELECT account_id, booked_on, currency, count(*) AS entries,
              coalesce(sum(amount_minor) FILTER (WHERE amount_minor > 0), 0) AS in_minor,
              coalesce(sum(amount_minor) FILTER (WHERE amount_minor < 0), 0) AS out_minor
         FROM snapshot.transactions
        WHERE status = 'posted' AND (%(account_id)s::text IS NULL OR account_id = %(account_id)s::text)
        GROUP BY account_id, booked_on, currency) AS counted USING (account_id, booked_on, currency)
 WHERE (coalesce(total.entries, 0), coalesce(total.in_minor, 0), coalesce(total.out_minor, 0))
       IS DISTINCT FROM (coalesce(counted.entries, 0), coalesce(counted.in_minor, 0), coalesce(counted.out_minor, 0))
   AND (%(first)s::date IS NULL OR booked_on >= %(first)s::date)
   AND (%(last)s::date IS NULL OR booked_on <= %(last)s::date)
 ORDER BY account_id, booked_on, currency
 LIMIT %(days_max)s;

-- name: proof_get
-- What is in the mirror, and whether it ties: the rows of each day with the total that was kept as they came in, and each
-- balance, as the bank states it, with the sum of what was booked.
WITH counted AS (
    SELECT account_id, booked_on, currency, count(*) AS entries,
           coalesce(sum(amount_minor) FILTER (WHERE amount_minor > 0), 0) AS in_minor,
           coalesce(sum(amount_minor) FILTER (WHERE amount_minor < 0), 0) AS out_minor
      FROM snapshot.transactions WHERE status = 'posted' GROUP BY account_id, booked_on, currency),
booked AS (
    SELECT account_id, currency, sum(in_minor + out_minor) AS sum_minor FROM counted GROUP BY account_id, currency)
SELECT (SELECT count(*) FROM snapshot.accounts) AS accounts,
       (SELECT count(*) FROM snapshot.transactions) AS transactions,
       (SELECT coalesce(jsonb_object_agg(currency, sum_minor::text), '{}')
          FROM (SELECT currency, sum(amount_minor) AS sum_minor FROM snapshot.transactions GROUP BY currency) AS sums)
           AS sums_minor,
       (SELECT count(*) FROM counted) AS days,
       (SELECT count(*)
          FROM snapshot.daily_totals AS total FULL JOIN counted USING (account_id, booked_on, currency)
         WHERE (coalesce(total.entries, 0), coalesce(total.in_minor, 0), coalesce(total.out_minor, 0))
               IS DISTINCT FROM (coalesce(counted.entries, 0), coalesce(counted.in_minor, 0),
                                 coalesce(counted.out_minor, 0))) AS days_untied,
       (SELECT count(*) FROM snapshot.balances) AS balances,
       (SELECT count(*)
          FROM snapshot.balances AS balance LEFT JOIN booked USING (account_id, currency)
         WHERE balance.current_minor = coalesce(booked.sum_minor, 0)) AS balances_tied,
       (SELECT count(*) FROM sync.quarantine WHERE resolved_at IS NULL) AS quarantined;

-- name: accounts_held_back
-- Listed accounts that may be others under a new id, and wait for somebody to say so: nothing of theirs is mirrored.
SELECT listed_id FROM sync.account_links WHERE connection_id = %(connection_id)s AND state = 'suggested';
