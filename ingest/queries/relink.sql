-- Accounts that the bank lists under a new id: after a relink, a new consent, a move to another system.

-- Whoever writes here takes its locks in one order, so that no two can wait for each other: the target of accounts, then
-- those of transactions, then those of balances, then links of accounts. A poll has its own target from the start.

-- name: relinks_turn
-- Whether a listing of accounts ends links: then nothing else may be reading under them.
SELECT EXISTS (SELECT FROM sync.account_links
                WHERE connection_id = %(connection_id)s
                  AND (state IN ('suggested', 'linked', 'confirmed') AND account_id = ANY (%(ids)s)
                       OR state = 'suggested' AND listed_id <> ALL (%(ids)s::text[] || %(refused_ids)s::text[]))) AS turns;

-- name: relinks_undo
-- The bank lists an account under its former id again: whatever was concluded from its absence does not hold.
UPDATE sync.account_links
   SET state = CASE state WHEN 'suggested' THEN 'rejected' ELSE 'undone' END,
       decided_at = now(), decided_by = 'bank', note = 'the bank lists the account under its former id'
 WHERE connection_id = %(connection_id)s AND state IN ('suggested', 'linked', 'confirmed')
   AND account_id = ANY (%(ids)s)
RETURNING account_id;

-- name: relinks_withdraw
-- What is only suggested is no question any more when the new id is not listed either.
UPDATE sync.account_links
   SET state = 'rejected', decided_at = now(), decided_by = 'bank', note = 'the bank does not list the new id any more'
 WHERE connection_id = %(connection_id)s AND state = 'suggested'
   AND listed_id <> ALL (%(ids)s::text[] || %(refused_ids)s::text[]);

-- name: relinks_suggest
-- An account is listed for the first time, and exactly one of ours that is not listed has its name, type and currency, and
-- no other new one has: it may be the same account.
INSERT INTO sync.account_links AS link (account_id, listed_id, connection_id, name, type, currency, run_id)
WITH listed AS (
    SELECT *, count(*) OVER (PARTITION BY name, type, currency) AS alike
      FROM unnest(%(ids)s::text[], %(names)s::text[], %(types)s::text[], %(currencies)s::text[], %(statuses)s::text[])
           AS listed (listed_id, name, type, currency, status)
     WHERE status = 'open'
       AND NOT EXISTS (SELECT FROM snapshot.accounts WHERE account_id = listed_id)
       AND NOT EXISTS (SELECT FROM sync.account_links AS other
                        WHERE other.listed_id = listed.listed_id AND other.state IN ('linked', 'suggested', 'confirmed'))),
absent AS (
    SELECT *, count(*) OVER (PARTITION BY name, type, currency) AS alike
      FROM snapshot.accounts AS stored
     WHERE connection_id = %(connection_id)s AND status = 'open'
       AND account_id <> ALL (%(ids)s::text[] || %(refused_ids)s::text[])
       AND NOT EXISTS (SELECT FROM sync.account_links AS other
                        WHERE other.account_id = stored.account_id
                          AND other.state IN ('linked', 'suggested', 'confirmed')))
SELECT absent.account_id, listed.listed_id, %(connection_id)s, listed.name, listed.type, listed.currency, %(run_id)s
  FROM listed JOIN absent USING (name, type, currency)
 WHERE listed.alike = 1 AND absent.alike = 1
ON CONFLICT (account_id, listed_id) DO UPDATE
   SET state = 'suggested', evidence = 'resembles', rows_seen = 0, rows_equal = 0, run_id = excluded.run_id,
       found_at = now(), decided_at = NULL, decided_by = NULL, note = NULL
 WHERE link.decided_by = 'bank';

-- name: relinks_list
-- Which ids of a connection's listing belong to another account, or are held back.
SELECT listed_id, account_id, state FROM sync.account_links
 WHERE connection_id = %(connection_id)s AND state IN ('suggested', 'linked', 'confirmed');

-- name: held_archive
-- What was stored under the new id before the accounts were listed is held back too: it leaves the mirror, not the history.
WITH held AS (
    DELETE FROM snapshot.transactions WHERE account_id = ANY (%(held)s) RETURNING *)
INSERT INTO snapshot.transaction_revisions (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, known_to, ended_by, ended_run_id)
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
       known_from, run_id, greatest(now(), known_from + interval '1 us'), 'rekeyed', %(run_id)s
  FROM held;

-- name: held_totals
-- Nor does it count any more.
DELETE FROM snapshot.daily_totals WHERE account_id = ANY (%(held)s);

-- name: relink_lock
-- Wait until nobody stores transactions or balances of the connection, and let nobody.
SELECT FROM sync.targets
 WHERE connection_id = %(connection_id)s AND feed IN ('transactions', 'balances')
 ORDER BY feed DESC, account_id
   FOR UPDATE;

-- name: relink_fence
-- Whoever reads transactions or balances of the connection now began before this was known: nothing of it may be stored.
UPDATE sync.targets
   SET lease_epoch = lease_epoch + 1, lease_holder = NULL, lease_until = '-infinity', due_at = clock_timestamp()
 WHERE connection_id = %(connection_id)s AND feed IN ('transactions', 'balances');

-- name: relink_reread
-- What belongs to whom has changed: it is read again from the start. Until then answers are partial.
UPDATE sync.targets SET cursor = NULL, checkpoint = NULL, complete = false, due_at = clock_timestamp()
 WHERE connection_id = %(connection_id)s AND feed = 'transactions'
   AND account_id = ANY (array_prepend('', %(accounts)s::text[]));

-- name: relink_mark_changed
-- Views follow the runs that changed transactions; this one did.
UPDATE sync.runs SET txid = pg_current_xact_id() WHERE run_id = %(run_id)s;

-- name: accounts_hasten
-- The accounts are listed again at once, under what was decided. Who has targets of transactions must not wait for this one:
-- if a listing is just being stored, the next one comes when it is due.
UPDATE sync.targets AS target SET due_at = clock_timestamp()
  FROM (SELECT connection_id, account_id, feed FROM sync.targets
         WHERE connection_id = %(connection_id)s AND feed = 'accounts'
           FOR UPDATE SKIP LOCKED) AS free
 WHERE (target.connection_id, target.account_id, target.feed) = (free.connection_id, free.account_id, free.feed);

-- name: held_take
-- Rows of accounts that are held back are not stored. Each is held against what the account has under its former id: the
-- same id, or the same fingerprint and number among equal ones; of days only that we have.
WITH taken AS (
    DELETE FROM incoming USING sync.account_links AS link
     WHERE link.connection_id = %(connection_id)s AND link.state = 'suggested' AND incoming.account_id = link.listed_id
    RETURNING incoming.*, link.account_id AS mirror_id)
INSERT INTO held (account_id, mirror_id, transaction_id, day, fingerprint, created_at)
SELECT account_id, mirror_id, transaction_id, day,
       snapshot.fingerprint(status, day, amount_minor, currency, type, description, counterparty_name,
                            counterparty_account_id, client_reference), created_at
  FROM taken
 CROSS JOIN LATERAL (SELECT coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) AS day) AS dated;

-- name: held_stage_create
-- Where held rows are weighed. Made once per connection, emptied by every COMMIT.
CREATE TEMPORARY TABLE IF NOT EXISTS held (
    account_id text NOT NULL, mirror_id text NOT NULL, transaction_id text NOT NULL, day date NOT NULL,
    fingerprint text NOT NULL, created_at timestamptz NOT NULL
) ON COMMIT DELETE ROWS;

-- name: relinks_weigh
-- Add to the evidence: how many held rows are of days that the account has, and how many of them it has already. It is
-- counted anew in each pass: one entry that is shown again and again is one entry.
WITH days AS (
    SELECT DISTINCT mirror_id, day FROM held
     WHERE EXISTS (SELECT FROM snapshot.daily_totals AS total
                    WHERE (total.account_id, total.booked_on) = (held.mirror_id, held.day) AND total.entries > 0)),
known AS (
    SELECT days.mirror_id, days.day, stored.transaction_id, stored.created_at,
           snapshot.fingerprint(stored.status, days.day, stored.amount_minor, stored.currency, stored.type,
                                stored.description, stored.counterparty_name, stored.counterparty_account_id,
                                stored.client_reference) AS fingerprint
      FROM days JOIN snapshot.transactions AS stored
        ON stored.account_id = days.mirror_id AND stored.booked_on = days.day
       AND stored.created_at >= days.day - 45 AND stored.created_at < days.day + 10),
old AS (
    SELECT *, row_number() OVER (PARTITION BY mirror_id, fingerprint ORDER BY created_at, transaction_id) AS occurrence
      FROM known),
new AS (
    SELECT held.*, row_number() OVER (PARTITION BY mirror_id, fingerprint ORDER BY created_at, transaction_id) AS occurrence
      FROM held JOIN days USING (mirror_id, day)),
counted AS (
    SELECT new.account_id, new.mirror_id, count(*) AS seen,
           count(*) FILTER (WHERE twin.occurrence IS NOT NULL) AS equal,
           count(*) FILTER (WHERE same.transaction_id IS NOT NULL) AS same_id
      FROM new
      LEFT JOIN old AS twin USING (mirror_id, fingerprint, occurrence)
      LEFT JOIN known AS same
        ON (same.mirror_id, same.transaction_id, same.fingerprint)
         = (new.mirror_id, new.transaction_id, new.fingerprint)
     GROUP BY new.account_id, new.mirror_id)
UPDATE sync.account_links AS link
   SET rows_seen = CASE WHEN %(begins)s THEN 0 ELSE link.rows_seen END + seen,
       rows_equal = CASE WHEN %(begins)s THEN 0 ELSE link.rows_equal END + equal,
       evidence = CASE WHEN equal = 0 THEN link.evidence WHEN same_id = equal THEN 'stable-id' ELSE 'fingerprint' END
  FROM counted
 WHERE (link.account_id, link.listed_id) = (counted.mirror_id, counted.account_id) AND link.state = 'suggested';

-- name: relinks_link
-- The account has nearly all of what the new id shows in its days, and that is enough: no question any more. (Nearly: what
-- was booked since is shown under the new id alone.)
UPDATE sync.account_links
   SET state = 'linked', run_id = %(run_id)s
 WHERE connection_id = %(connection_id)s AND state = 'suggested'
   AND rows_equal >= %(rows_min)s AND rows_equal >= %(share_min)s::numeric * rows_seen
RETURNING account_id;

-- name: incoming_adopt_hash
-- A content hash covers the account's id at the bank. What differs in nothing else is no other version.
UPDATE snapshot.transactions AS stored SET content_hash = incoming.content_hash
  FROM incoming
 WHERE (incoming.account_id, incoming.transaction_id) = (stored.account_id, stored.transaction_id)
   AND incoming.content_hash <> stored.content_hash
   AND incoming.account_id IN (SELECT account_id FROM sync.account_links
                                WHERE connection_id = %(connection_id)s AND state IN ('linked', 'confirmed', 'undone'))
   AND (incoming.amount_minor, incoming.currency, incoming.status, incoming.type, incoming.description,
        incoming.counterparty_name, incoming.counterparty_account_id, incoming.client_reference,
        incoming.pending_transaction_id, incoming.created_at, incoming.booked_on)
       IS NOT DISTINCT FROM
       (stored.amount_minor, stored.currency, stored.status, stored.type, stored.description,
        stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
        stored.pending_transaction_id, stored.created_at, stored.booked_on);
