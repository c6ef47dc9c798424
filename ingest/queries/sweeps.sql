-- The sweep: everything is read again, slowly, between the polls of the same target and under its lease.

-- name: sweep_get
-- How the sweep of a target stands, after making sure that one is planned: the first an interval after the first complete
-- poll. Due also means that one is under way.
INSERT INTO sync.sweeps AS sweep (connection_id, account_id, due_at)
VALUES (%(connection_id)s, %(account_id)s, clock_timestamp() + make_interval(secs => %(interval_seconds)s))
ON CONFLICT (connection_id, account_id) DO UPDATE
   SET due_at = CASE WHEN sweep.run_id IS NULL THEN least(sweep.due_at, excluded.due_at) ELSE sweep.due_at END
RETURNING run_id, cursor, next_day, run_id IS NOT NULL OR due_at <= clock_timestamp() AS is_due;

-- name: sweep_begin
-- Begin at the start. The next one is planned at its end; until then only somebody who asks for one makes another due.
UPDATE sync.sweeps
   SET due_at = 'infinity', run_id = %(run_id)s, cursor = NULL, next_day = %(next_day)s, rows_seen = 0
 WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s);

-- name: sweep_advance
-- Save how far it has come, in the transaction that stored what it found.
UPDATE sync.sweeps
   SET cursor = %(cursor)s, next_day = %(next_day)s, rows_seen = rows_seen + %(rows_seen)s, last_error = NULL
 WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s);

-- name: sweep_end
-- It came to its end, or is given up: the next one begins after an interval. Sooner where something waits for a second
-- look, but not at every poll: a large mirror is read for hours.
UPDATE sync.sweeps
   SET run_id = NULL, cursor = NULL, next_day = NULL, noted_account_id = NULL, noted_transaction_id = NULL,
       swept_at = CASE WHEN %(error)s::text IS NULL THEN clock_timestamp() ELSE swept_at END,
       -- One that was asked for meanwhile follows at once: this one had passed some of what it is to look for.
       due_at = least(due_at, clock_timestamp() + make_interval(secs => least(%(interval_seconds)s, CASE
           -- The polls read everything instead, and a bank with many equal entries must not be read so each hour.
           WHEN starts_with(%(error)s::text, 'ids-switched') THEN %(interval_seconds)s
           WHEN %(error)s::text IS NOT NULL THEN 3600
           WHEN EXISTS (SELECT FROM sync.missing JOIN snapshot.accounts AS account USING (account_id)
                         WHERE account.connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id)
                           AND first_missed_at IS NOT NULL) THEN 3600
           WHEN EXISTS (SELECT FROM sync.breakers AS breaker
                         WHERE (breaker.connection_id, breaker.account_id, breaker.feed)
                             = (%(connection_id)s, %(account_id)s, 'transactions')
                           AND closed_at IS NULL) THEN 21600
           ELSE %(interval_seconds)s END))),
       last_error = %(error)s
 WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s);

-- name: sweep_pause
-- A stretch broke off; what was stored of it stays, and the next poll goes on.
UPDATE sync.sweeps SET last_error = %(error)s
 WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s);

-- name: sweep_void
-- The target is read from its start: that pass shows everything itself, and notes anew what is missing.
UPDATE sync.sweeps
   SET run_id = NULL, cursor = NULL, next_day = NULL, noted_account_id = NULL, noted_transaction_id = NULL,
       due_at = clock_timestamp()
 WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s) AND run_id IS NOT NULL;

-- name: sweep_hasten
-- Somebody asks for the sweep of one feed of transactions, or of all: it begins after the feed's next poll, and that is due.
-- One that is under way goes on, and another follows it.
WITH polled AS (
    UPDATE sync.targets
       SET due_at = least(due_at, clock_timestamp())
     WHERE connection_id = %(connection_id)s AND feed = 'transactions' AND parked_reason IS NULL
       AND (%(account_id)s::text IS NULL OR account_id = %(account_id)s)
    RETURNING connection_id, account_id)
INSERT INTO sync.sweeps AS sweep (connection_id, account_id, due_at)
SELECT connection_id, account_id, clock_timestamp() FROM polled
ON CONFLICT (connection_id, account_id) DO UPDATE
   SET due_at = least(sweep.due_at, excluded.due_at);

-- name: sweep_slice
-- The last day of a stretch of days, from a day on, in which we hold about so many rows of an account; at least one day.
SELECT coalesce((SELECT greatest((created_at AT TIME ZONE 'UTC')::date, %(day)s::date)
                   FROM snapshot.transactions
                  WHERE account_id = %(account_id)s AND created_at >= %(day)s::date
                  ORDER BY created_at OFFSET %(rows)s LIMIT 1),
                %(last)s::date) AS day;

-- name: run_add
-- Add what a stretch of the sweep did to the run that it follows.
UPDATE sync.runs
   SET pages = pages + %(pages)s,
       rows_seen = rows_seen + %(rows_seen)s,
       rows_changed = rows_changed + %(rows_changed)s,
       rows_removed = rows_removed + %(rows_removed)s,
       rows_refused = rows_refused + %(rows_refused)s,
       txid = CASE WHEN %(rows_changed)s + %(rows_removed)s > 0 THEN pg_current_xact_id() ELSE txid END
 WHERE run_id = %(run_id)s;
