-- Absence is not removal.

-- A pass that shows everything (a listing of a window, a delta feed from its start, a sweep) notes which rows we hold and
-- it has not shown, strikes out those that it shows later, and judges the rest at its end: that was one look. What an
-- earlier look missed already is then removed.

-- name: missing_forget
-- Drop the notes of a pass that never came to its end. What a breaker holds stays.
DELETE FROM sync.missing
 WHERE first_missed_at IS NULL AND breaker_id IS NULL
   AND account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id));

-- name: held_exceeds
-- Whether we hold so many rows that they are noted in steps; counted no further than that.
SELECT count(*) >= %(rows)s AS exceeds
  FROM (SELECT FROM snapshot.transactions
         WHERE account_id IN (SELECT account_id FROM snapshot.accounts
                               WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
         LIMIT %(rows)s) AS held;

-- name: missing_note_step
-- Note the next rows, in the order of the key, that we hold and the first rows of the pass do not show. Returns how many
-- were looked at, and the last key.
WITH held AS MATERIALIZED (
    SELECT account_id, transaction_id, booked_on, created_at
      FROM snapshot.transactions
     WHERE (account_id, transaction_id) > (%(after_account)s, %(after_transaction)s)
       AND account_id IN (SELECT account_id FROM snapshot.accounts
                           WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
     ORDER BY account_id, transaction_id
     LIMIT %(rows)s),
noted AS (
    INSERT INTO sync.missing (account_id, transaction_id, run_id)
    SELECT account_id, transaction_id, %(run_id)s
      FROM held
     WHERE coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
       AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date
       AND NOT EXISTS (
           SELECT FROM incoming
            WHERE (incoming.account_id, incoming.transaction_id) = (held.account_id, held.transaction_id))
    ON CONFLICT (account_id, transaction_id) DO NOTHING)
SELECT count(*) AS looked_at,
       (SELECT account_id FROM held ORDER BY account_id DESC, transaction_id DESC LIMIT 1) AS account_id,
       (SELECT transaction_id FROM held ORDER BY account_id DESC, transaction_id DESC LIMIT 1) AS transaction_id
  FROM held;

-- name: noting_get
-- Up to which key a pass that has not begun to read has noted what we hold; no row when none is under way.
SELECT noted_account_id AS account_id, noted_transaction_id AS transaction_id
  FROM sync.sweeps
 WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s) AND noted_account_id IS NOT NULL;

-- name: noting_save
-- Keep it; both null once all is noted.
INSERT INTO sync.sweeps (connection_id, account_id, noted_account_id, noted_transaction_id)
VALUES (%(connection_id)s, %(account_id)s, %(after_account)s, %(after_transaction)s)
ON CONFLICT (connection_id, account_id) DO UPDATE
   SET noted_account_id = excluded.noted_account_id, noted_transaction_id = excluded.noted_transaction_id;

-- name: missing_note_window
-- Begin a pass over the days of one account. The first and the last day are left out: in the bank's zone they may be
-- other days. Rows made long before the window but booked inside are not judged, so that an index can find the rest.
INSERT INTO sync.missing (account_id, transaction_id, run_id)
SELECT account_id, transaction_id, %(run_id)s
  FROM snapshot.transactions AS stored
 WHERE account_id = %(account_id)s
   AND created_at >= %(first)s::date - 60
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date
   AND NOT EXISTS (
       SELECT FROM incoming
        WHERE (incoming.account_id, incoming.transaction_id) = (stored.account_id, stored.transaction_id))
ON CONFLICT (account_id, transaction_id) DO NOTHING;

-- name: missing_strike
-- What is shown is not missing, and neither is what is shown but cannot be read.
DELETE FROM sync.missing
 USING (SELECT account_id, transaction_id FROM incoming
        UNION ALL
        SELECT * FROM unnest(%(refused_accounts)s::text[], %(refused_ids)s::text[]))
       AS shown (account_id, transaction_id)
 WHERE (missing.account_id, missing.transaction_id) = (shown.account_id, shown.transaction_id);

-- name: missing_count
-- How many rows of the days that a pass covers are missing; the days are endless for a whole connection. What somebody
-- accepted as gone is counted apart.
SELECT count(*) FILTER (WHERE (breaker_id = %(accepted_id)s::bigint) IS NOT TRUE) AS absent,
       count(*) FILTER (WHERE breaker_id = %(accepted_id)s::bigint) AS accepted
  FROM sync.missing JOIN snapshot.transactions USING (account_id, transaction_id)
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date;

-- name: held_count_all
-- How many rows a connection has.
SELECT count(*) AS held FROM snapshot.transactions
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts WHERE connection_id = %(connection_id)s);

-- name: held_count_window
-- How many rows an account has in the days that are judged; see missing_note_window.
SELECT count(*) AS held
  FROM snapshot.transactions
 WHERE account_id = %(account_id)s
   AND created_at >= %(first)s::date - 60
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date;

-- name: ended_absent
-- Rows that two complete passes, at least an interval apart, did not show; and those that somebody accepted as gone and
-- that this pass still does not show.
INSERT INTO ended (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, ended_by, successor_id)
SELECT stored.account_id, stored.transaction_id, stored.amount_minor, stored.currency, stored.status, stored.type,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, stored.booked_on, stored.content_hash, stored.known_from,
       stored.run_id,
       'absent', NULL
  FROM sync.missing JOIN snapshot.transactions AS stored USING (account_id, transaction_id)
 WHERE (missing.breaker_id = %(accepted_id)s::bigint
        OR (NOT %(doubted)s AND missing.breaker_id IS NULL AND missing.first_missed_at <= now() - make_interval(secs => (
            SELECT interval_seconds FROM sync.targets
             WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, 'transactions')))))
   AND stored.account_id IN (SELECT account_id FROM snapshot.accounts
                              WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date
   AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended);

-- name: missing_confirm
-- A pass came to its end undoubted: what it looked for and did not show was missed once.
UPDATE sync.missing
   SET first_missed_at = now()
  FROM snapshot.transactions AS stored
 WHERE (missing.account_id, missing.transaction_id) = (stored.account_id, stored.transaction_id)
   AND missing.first_missed_at IS NULL AND missing.breaker_id IS NULL
   AND stored.account_id IN (SELECT account_id FROM snapshot.accounts
                              WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date;

-- name: missing_resolve
-- What left the mirror is not missing from it.
DELETE FROM sync.missing USING ended
 WHERE (missing.account_id, missing.transaction_id) = (ended.account_id, ended.transaction_id);
