-- Which days of an account a listing has covered, and which it reads next.

-- name: window_get
-- What decides the next listing of an account: the last day before the first one that was never read, the oldest day that has something open
-- (an entry that is pending, that was missed once or that was refused), and how late entries came in the last 90 days.
-- What is older than a listing reaches back is left to the sweep.
SELECT (SELECT upper(reached) - 1 FROM sync.coverage, unnest(covered) AS reached
         WHERE account_id = %(account_id)s AND reached @> '1970-01-01'::date) AS covered_to,
       least((SELECT min(created_at AT TIME ZONE 'UTC')::date FROM snapshot.transactions
               WHERE account_id = %(account_id)s AND status = 'pending' AND created_at > now() - interval '45 days'),
             (SELECT min(coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date))
                FROM sync.missing JOIN snapshot.transactions USING (account_id, transaction_id)
               WHERE account_id = %(account_id)s
                 AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > (now() AT TIME ZONE 'UTC')::date - 45),
             (SELECT min(day) FROM sync.quarantine
               WHERE account_id = %(account_id)s AND feed = 'transactions' AND resolved_at IS NULL)) AS oldest_open,
       (SELECT make_interval(days => percentile_disc(0.95) WITHIN GROUP (ORDER BY lag_days))
          FROM sync.late_entries
         WHERE account_id = %(account_id)s AND first_seen_at > now() - interval '90 days') AS posting_lag,
       (clock_timestamp() AT TIME ZONE 'UTC')::date AS today,
       clock_timestamp() AS now;

-- name: coverage_extend
-- A listing reached its last page: its days are covered.
INSERT INTO sync.coverage AS known (account_id, covered, run_id)
VALUES (%(account_id)s,
        datemultirange(daterange(
            %(first)s, greatest(%(first)s::date, least(%(last)s::date, (clock_timestamp() AT TIME ZONE 'UTC')::date)), '[]')),
        %(run_id)s)
ON CONFLICT (account_id) DO UPDATE
   SET covered = known.covered + excluded.covered, verified_at = now(), run_id = excluded.run_id;

-- name: late_note
-- Posted entries that the mirror never held, of an account and of days that a complete poll had looked at before: they
-- came late. A day more or less is the bank's zone. What got another id only is not new.
INSERT INTO sync.late_entries (account_id, transaction_id, booked_on, lag_days)
SELECT incoming.account_id, incoming.transaction_id, incoming.booked_on, looked.day - incoming.booked_on
  FROM incoming
  JOIN snapshot.accounts AS account USING (account_id)
 CROSS JOIN (SELECT started_at, (started_at AT TIME ZONE 'UTC')::date AS day
               FROM sync.runs
              WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, 'transactions')
                AND outcome = 'complete'
              ORDER BY run_id DESC LIMIT 1) AS looked
 WHERE incoming.status = 'posted'
   AND incoming.booked_on < looked.day - 1
   AND account.first_seen_at < looked.started_at
   AND NOT EXISTS (
       SELECT FROM snapshot.transaction_revisions AS kept
        WHERE (kept.account_id, kept.transaction_id) = (incoming.account_id, incoming.transaction_id))
   -- NOT IN is hashed, where NOT EXISTS would read all of what ended for each row.
   AND (incoming.account_id, incoming.transaction_id) NOT IN (
       SELECT account_id, successor_id FROM ended WHERE ended_by = 'rekeyed' AND successor_id IS NOT NULL)
ON CONFLICT (account_id, transaction_id) DO NOTHING;

-- name: late_forget_rekeyed
-- A pass found out at its end that entries only got another id: they did not come late.
DELETE FROM sync.late_entries AS late
 USING ended
 WHERE ended.ended_by = 'rekeyed'
   AND (late.account_id, late.transaction_id) = (ended.account_id, ended.successor_id);
