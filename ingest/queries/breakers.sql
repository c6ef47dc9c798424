-- The breaker: so much is suddenly missing that the bank is doubted, and only a person may let it go.

-- name: breaker_get
-- The open breaker of a target, and whether somebody accepted in the last 24 hours that its rows are gone.
SELECT breaker_id, held, account_ids,
       coalesce(last.decision = 'accepted' AND last.decided_at > now() - interval '24 hours', false) AS accepted
  FROM sync.breakers AS breaker
  LEFT JOIN LATERAL (
       SELECT decision, decided_at FROM sync.breaker_decisions AS made
        WHERE made.breaker_id = breaker.breaker_id
        ORDER BY decided_at DESC LIMIT 1) AS last ON true
 WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s) AND closed_at IS NULL;

-- name: breaker_open
-- Open a breaker, or say of the open one what is missing now. The passes of a sweep add to it one after the other.
INSERT INTO sync.breakers AS breaker (connection_id, account_id, feed, run_id, absent, held, sample, account_ids)
VALUES (%(connection_id)s, %(account_id)s, %(feed)s, %(run_id)s, %(absent)s, %(held)s, %(sample)s::text[],
        %(account_ids)s::text[])
ON CONFLICT (connection_id, account_id, feed) WHERE closed_at IS NULL DO UPDATE
   SET last_missed_at = now(), run_id = excluded.run_id, absent = excluded.absent,
       held = greatest(breaker.held, excluded.held), sample = excluded.sample, account_ids = excluded.account_ids
RETURNING breaker_id;

-- name: breaker_recount
-- How much of what a breaker holds is missing now.
UPDATE sync.breakers AS breaker
   SET absent = counted.rows, held = greatest(held, counted.rows)
  FROM (SELECT greatest(count(*), 1) AS rows
          FROM sync.missing JOIN snapshot.transactions USING (account_id, transaction_id)
         WHERE missing.breaker_id = %(breaker_id)s) AS counted
 WHERE breaker.breaker_id = %(breaker_id)s;

-- name: breaker_close
-- The open breaker of a target has done its work.
UPDATE sync.breakers
   SET closed_at = now(), closed_because = %(because)s
 WHERE breaker_id = %(breaker_id)s AND closed_at IS NULL;

-- name: missing_sample
-- A few of the rows that a pass did not show.
SELECT coalesce(array_agg(account_id || ' ' || transaction_id ORDER BY account_id, transaction_id), '{}') AS sample
  FROM (SELECT account_id, transaction_id
          FROM sync.missing JOIN snapshot.transactions USING (account_id, transaction_id)
         WHERE account_id IN (SELECT account_id FROM snapshot.accounts
                               WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
           AND (breaker_id = %(accepted_id)s::bigint) IS NOT TRUE
         ORDER BY account_id, transaction_id
         LIMIT 10) AS few;

-- name: missing_hold
-- Put what a doubted pass did not show into the breaker's hands: it is no look, and nothing of it is removed.
UPDATE sync.missing
   SET breaker_id = %(breaker_id)s, first_missed_at = NULL
  FROM snapshot.transactions AS stored
 WHERE (missing.account_id, missing.transaction_id) = (stored.account_id, stored.transaction_id)
   AND missing.breaker_id IS DISTINCT FROM %(breaker_id)s
   AND (missing.account_id, missing.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended)
   AND stored.account_id IN (SELECT account_id FROM snapshot.accounts
                              WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
   AND (missing.breaker_id IS NOT NULL
        OR (coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
            AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date));

-- name: missing_free
-- The breaker closes: what is left of it is judged like everything else, from its first look on.
UPDATE sync.missing SET breaker_id = NULL, first_missed_at = NULL WHERE breaker_id = %(breaker_id)s;

-- name: missing_left
-- How many rows are left of what a breaker holds.
SELECT count(*) AS rows
  FROM sync.missing JOIN snapshot.transactions USING (account_id, transaction_id)
 WHERE breaker_id = %(breaker_id)s
   AND (account_id, transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended);

-- name: breaker_close_empty
-- All that a breaker held was shown again, or removed by the bank itself, between two passes over everything.
UPDATE sync.breakers
   SET closed_at = now(), closed_because = 'shown again'
 WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, 'transactions') AND closed_at IS NULL
   AND NOT EXISTS (SELECT FROM sync.missing WHERE missing.breaker_id = breakers.breaker_id);

-- name: breakers_let_go
-- Accounts of which somebody accepted that the bank does not list them, or their balance, any more, and that it has not
-- listed since. An acceptance that no listing took up within 24 hours is void.
SELECT coalesce(array_agg(DISTINCT gone), '{}') AS account_ids
  FROM sync.breakers AS breaker
 CROSS JOIN unnest(breaker.account_ids) AS gone
 CROSS JOIN LATERAL (
       SELECT decision, decided_at FROM sync.breaker_decisions AS made
        WHERE made.breaker_id = breaker.breaker_id
        ORDER BY decided_at DESC LIMIT 1) AS last
 WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s)
   AND last.decision = 'accepted'
   AND CASE WHEN closed_at IS NULL THEN last.decided_at > now() - interval '24 hours' ELSE closed_because = 'let go' END
   AND NOT EXISTS (SELECT FROM snapshot.accounts AS account
                    WHERE %(feed)s = 'accounts' AND account.account_id = gone AND account.last_seen_at > breaker.last_missed_at)
   AND NOT EXISTS (SELECT FROM snapshot.balances AS balance
                    WHERE %(feed)s = 'balances' AND balance.account_id = gone AND balance.synced_at > breaker.last_missed_at);

-- name: breakers_list
-- Breakers, the open ones first; closed ones if asked for.
SELECT breaker_id, connection_id, account_id, feed, opened_at, last_missed_at, absent, held, sample,
       closed_at, closed_because, last.decision, last.decided_at, last.decided_by, last.reason,
       coalesce(last.decision = 'accepted' AND last.decided_at <= now() - interval '24 hours', false) AND closed_at IS NULL
           AS expired
  FROM sync.breakers AS breaker
  LEFT JOIN LATERAL (
       SELECT decision, decided_at, decided_by, reason FROM sync.breaker_decisions AS made
        WHERE made.breaker_id = breaker.breaker_id
        ORDER BY decided_at DESC LIMIT 1) AS last ON true
 WHERE closed_at IS NULL OR %(all)s
 ORDER BY closed_at IS NOT NULL, breaker_id DESC
 LIMIT 1000;

-- name: breaker_decide
-- Record a decision about an open breaker, and have its feed looked at again. No row comes back if it is not open.
WITH open AS (
    SELECT breaker_id, connection_id, account_id, feed FROM sync.breakers
     WHERE breaker_id = %(breaker_id)s AND closed_at IS NULL
       FOR UPDATE),
decided AS (
    INSERT INTO sync.breaker_decisions (breaker_id, decision, decided_by, reason)
    SELECT breaker_id, %(decision)s, %(decided_by)s, %(reason)s FROM open
    RETURNING breaker_id),
polled AS (
    UPDATE sync.targets AS target
       SET due_at = clock_timestamp()
      FROM open
     WHERE (target.connection_id, target.account_id, target.feed) = (open.connection_id, open.account_id, open.feed)
       AND %(decision)s = 'accepted' AND target.due_at > clock_timestamp()),
swept AS (
    UPDATE sync.sweeps AS sweep
       SET due_at = clock_timestamp()
      FROM open
     WHERE (sweep.connection_id, sweep.account_id) = (open.connection_id, open.account_id)
       AND open.feed = 'transactions' AND %(decision)s = 'accepted' AND sweep.due_at > clock_timestamp())
SELECT breaker_id FROM decided;
