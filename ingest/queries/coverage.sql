-- Which days of an account a listing has covered, and which it reads next.

-- name: window_get
-- What decides the next listing of an account: the day it is covered to, and the oldest day that has something open,
-- an entry that is pending, that was missed once or that was refused.
SELECT (SELECT covered_to FROM sync.coverage WHERE account_id = %(account_id)s) AS covered_to,
       least((SELECT min(created_at AT TIME ZONE 'UTC')::date FROM snapshot.transactions
               WHERE account_id = %(account_id)s AND status = 'pending' AND created_at > now() - interval '45 days'),
             (SELECT min(coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date))
                FROM sync.missing JOIN snapshot.transactions USING (account_id, transaction_id)
               WHERE account_id = %(account_id)s),
             (SELECT min(day) FROM sync.quarantine
               WHERE account_id = %(account_id)s AND feed = 'transactions' AND resolved_at IS NULL)) AS oldest_open,
       (clock_timestamp() AT TIME ZONE 'UTC')::date AS today;

-- name: coverage_extend
-- A listing reached its last page: its days are covered.
INSERT INTO sync.coverage AS covered (account_id, covered_from, covered_to, run_id)
VALUES (%(account_id)s, %(first)s, least(%(last)s::date, (clock_timestamp() AT TIME ZONE 'UTC')::date), %(run_id)s)
ON CONFLICT (account_id) DO UPDATE
   SET covered_from = least(covered.covered_from, excluded.covered_from),
       covered_to = greatest(covered.covered_to, excluded.covered_to),
       verified_at = now(), run_id = excluded.run_id;
