-- Identity: which of the ids that a changeset ends and brings are the same money.

-- Rows are held against each other in temporary tables only, and each row of them is looked up in the mirror by its key:
-- what this costs goes by the size of the changeset, never by the size of the mirror.

-- name: identity_look
-- What decides whether ids are compared at all. On the first reading of a feed there is nothing to compare with.
SELECT coalesce((SELECT run_id FROM sync.runs
                  WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, 'transactions')
                    AND outcome = 'complete'
                  ORDER BY run_id DESC LIMIT 1), 0) AS last_complete,
       EXISTS (SELECT FROM snapshot.transaction_links) AS has_links,
       EXISTS (SELECT FROM sync.account_links
                WHERE connection_id = %(connection_id)s AND state IN ('suggested', 'linked', 'confirmed'))
           AS has_account_links,
       EXISTS (SELECT FROM sync.newcomers) AS has_newcomers,
       EXISTS (SELECT FROM sync.positional_ids
                WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s) AND closed_at IS NULL)
           AS is_flagged,
       EXISTS (SELECT FROM sync.quarantine
                WHERE (connection_id, feed) = (%(connection_id)s, 'transactions') AND resolved_at IS NULL
                  AND %(account_id)s IN ('', account_id))
           AS has_refused,
       EXISTS (SELECT FROM sync.hidden_holds WHERE %(account_id)s IN ('', account_id)) AS has_hidden,
       EXISTS (SELECT FROM sync.missing) AS has_missing,
       -- In the order of an index of pending rows alone, which is read even where nobody has counted the rows yet.
       (SELECT account_id FROM snapshot.transactions
         WHERE status = 'pending' AND %(account_id)s IN ('', account_id)
         ORDER BY account_id LIMIT 1) IS NOT NULL AS has_pending;

-- name: lapse_days_set
-- Say after how many days a connection's pending entries are called lapsed.
UPDATE sync.connections SET lapse_days = %(days)s WHERE connection_id = %(connection_id)s AND lapse_days <> %(days)s;

-- name: identity_stage_create
-- Where ids are held against each other. Made once per connection, emptied by every COMMIT.
CREATE TEMPORARY TABLE IF NOT EXISTS came (
    account_id text NOT NULL, transaction_id text NOT NULL, status text NOT NULL, day date NOT NULL,
    amount_minor bigint NOT NULL, currency text NOT NULL, description text NOT NULL, counterparty_name text,
    counterparty_account_id text, client_reference text, pending_transaction_id text, created_at timestamptz NOT NULL,
    fingerprint text NOT NULL
) ON COMMIT DELETE ROWS;

CREATE TEMPORARY TABLE IF NOT EXISTS gone (
    account_id text NOT NULL, transaction_id text NOT NULL, client_reference text, created_at timestamptz NOT NULL,
    fingerprint text NOT NULL, successor_id text, occurrence integer, twins bigint
) ON COMMIT DELETE ROWS;

-- Pending entries that may have become a posted one: those that are shown, and those that ended lately.
CREATE TEMPORARY TABLE IF NOT EXISTS holds (
    account_id text NOT NULL, transaction_id text NOT NULL, day date NOT NULL, amount_minor bigint NOT NULL,
    currency text NOT NULL, description text NOT NULL, counterparty_name text, counterparty_account_id text,
    client_reference text
) ON COMMIT DELETE ROWS;

-- name: came_note
-- The incoming rows whose id the mirror does not have.
INSERT INTO came (
    account_id, transaction_id, status, day, amount_minor, currency, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, fingerprint)
SELECT account_id, transaction_id, status, day, amount_minor, currency, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at,
       snapshot.fingerprint(status, day, amount_minor, currency, type, description, counterparty_name,
                            counterparty_account_id, client_reference)
  FROM incoming
 CROSS JOIN LATERAL (SELECT coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) AS day) AS dated
 WHERE NOT EXISTS (
       SELECT FROM snapshot.transactions AS stored
        WHERE (stored.account_id, stored.transaction_id) = (incoming.account_id, incoming.transaction_id));

-- name: came_note_newcomers
-- And the rows that earlier stretches of the same pass brought.
INSERT INTO came (
    account_id, transaction_id, status, day, amount_minor, currency, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, fingerprint)
SELECT account_id, transaction_id, status, day, amount_minor, currency, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at,
       snapshot.fingerprint(status, day, amount_minor, currency, type, description, counterparty_name,
                            counterparty_account_id, client_reference)
  FROM sync.newcomers
  JOIN snapshot.transactions AS stored USING (account_id, transaction_id)
 CROSS JOIN LATERAL (SELECT coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) AS day) AS dated
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
   AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended)
   AND NOT EXISTS (
       SELECT FROM snapshot.transaction_links AS link
        WHERE (link.account_id, link.successor_id) = (stored.account_id, stored.transaction_id)
          AND link.kind = 'rekeyed' AND link.state IN ('linked', 'suggested', 'confirmed'));

-- name: newcomers_note
-- Keep in mind what this stretch of a pass showed for the first time.
INSERT INTO sync.newcomers (account_id, transaction_id, run_id)
SELECT account_id, transaction_id, %(run_id)s FROM came
ON CONFLICT (account_id, transaction_id) DO NOTHING;

-- name: newcomers_forget
-- The pass is through, and what it showed was judged.
DELETE FROM sync.newcomers
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id));

-- ── ids that are positions ───────────────────────────────────────────────────────────────────────────────────────────

-- name: rewritten_count
-- How many booked rows come with another amount, another day and another text at once; and a few of them.
SELECT count(*) AS rewritten, coalesce((array_agg(transaction_id ORDER BY transaction_id))[1:5], '{}') AS sample
  FROM ended JOIN incoming USING (account_id, transaction_id)
 WHERE ended.ended_by = 'changed' AND ended.status = 'posted' AND incoming.status = 'posted'
   AND ended.amount_minor <> incoming.amount_minor
   AND ended.booked_on <> incoming.booked_on
   AND ended.description <> incoming.description;

-- name: positional_accepted
-- Whether somebody said that such changes are right, lately.
SELECT EXISTS (SELECT FROM sync.positional_ids
                WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s)
                  AND closed_at IS NULL AND accepted_until > now()) AS accepted;

-- name: positional_flag
-- Remember that an answer was refused. A new refusal asks anew, unless an acceptance still holds.
INSERT INTO sync.positional_ids AS flag (connection_id, account_id, run_id, rows_rewritten, rows_held, sample)
VALUES (%(connection_id)s, %(account_id)s, %(run_id)s, %(rewritten)s, %(held)s, %(sample)s)
ON CONFLICT (connection_id, account_id) DO UPDATE
   SET last_seen_at = now(), run_id = excluded.run_id, rows_rewritten = excluded.rows_rewritten,
       rows_held = excluded.rows_held, sample = excluded.sample,
       raised_at = CASE WHEN flag.closed_at IS NULL THEN flag.raised_at ELSE now() END,
       accepted_until = CASE WHEN flag.closed_at IS NULL THEN flag.accepted_until END,
       closed_at = NULL;

-- name: positional_close
-- A whole pass was stored again: either the ids are stable, or its changes were accepted. Not while it is a sweep
-- that was refused: a poll shows nothing of its days.
UPDATE sync.positional_ids SET closed_at = now()
 WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s) AND closed_at IS NULL
   AND NOT EXISTS (
       SELECT FROM sync.sweeps AS sweep
        WHERE (sweep.connection_id, sweep.account_id) = (positional_ids.connection_id, positional_ids.account_id)
          AND sweep.run_id IS NOT NULL AND starts_with(sweep.last_error, 'positional-ids'));

-- name: positional_list
-- The feeds that were refused and wait for somebody.
SELECT connection_id, account_id, raised_at, last_seen_at, rows_rewritten, rows_held, sample, accepted_until
  FROM sync.positional_ids WHERE closed_at IS NULL
 ORDER BY connection_id, account_id;

-- name: positional_accept
-- Somebody says that the changes are right: the next pass may store them. It is asked for at once.
WITH accepted AS (
    UPDATE sync.positional_ids
       SET accepted_until = now() + make_interval(hours => %(hours)s), decided_at = now(), decided_by = %(by)s,
           note = %(note)s
     WHERE (connection_id, account_id) = (%(connection_id)s, %(account_id)s) AND closed_at IS NULL
    RETURNING connection_id, account_id)
UPDATE sync.targets AS target SET due_at = clock_timestamp()
  FROM accepted
 WHERE (target.connection_id, target.account_id, target.feed)
     = (accepted.connection_id, accepted.account_id, 'transactions');

-- ── an id scheme that was switched ───────────────────────────────────────────────────────────────────────────────────

-- name: switch_weigh_moments
-- In an account where most of what a feed adds is equal to what we hold in every field, its moment too, and is not removed
-- under the old ids: how many rows, and how many of them differ from each other.
WITH moments AS MATERIALIZED (
    SELECT DISTINCT account_id, created_at FROM came WHERE status = 'posted'),
held AS (
    SELECT stored.account_id, stored.created_at,
           snapshot.fingerprint(stored.status, stored.booked_on, stored.amount_minor, stored.currency, stored.type,
                                stored.description, stored.counterparty_name, stored.counterparty_account_id,
                                stored.client_reference) AS fingerprint
      FROM moments
      JOIN snapshot.transactions AS stored
        ON stored.account_id = moments.account_id AND stored.created_at = moments.created_at AND stored.status = 'posted'
     WHERE (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM incoming)
       AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended)),
counted AS (
    SELECT account_id, created_at, fingerprint, sum(old) AS old, sum(new) AS new
      FROM (SELECT account_id, created_at, fingerprint, 1 AS old, 0 AS new FROM held
            UNION ALL
            SELECT account_id, created_at, fingerprint, 0, 1 FROM came WHERE status = 'posted') AS shown
     GROUP BY account_id, created_at, fingerprint)
SELECT account_id, sum(least(old, new)) AS again
  FROM counted
 GROUP BY account_id
HAVING count(DISTINCT fingerprint) FILTER (WHERE old > 0 AND new > 0) >= %(rows_min)s
   AND 2 * sum(least(old, new)) >= sum(new);

-- name: switch_weigh_days
-- The same where the moments are new as well: most of what we hold of the days in question comes again. Equal entries of a
-- day are counted, not held against each other twin by twin.
WITH days AS (
    SELECT account_id, day, count(*) AS entries FROM came WHERE status = 'posted' GROUP BY account_id, day),
suspect AS (
    -- The totals answer for nearly every changeset that it is no switch, without a look at the rows.
    SELECT days.account_id
      FROM days
      JOIN LATERAL (
           SELECT sum(total.entries) AS entries FROM snapshot.daily_totals AS total
            WHERE (total.account_id, total.booked_on) = (days.account_id, days.day)) AS total ON total.entries > 0
     GROUP BY days.account_id
    HAVING sum(days.entries) >= %(rows_min)s AND 2 * sum(days.entries) >= sum(total.entries)),
suspect_days AS MATERIALIZED (
    -- Found first: joined at once, the rows of every account's days would be read before it is known that none is suspect.
    SELECT account_id, day FROM suspect JOIN days USING (account_id)),
held AS (
    SELECT stored.account_id,
           snapshot.fingerprint(stored.status, stored.booked_on, stored.amount_minor, stored.currency, stored.type,
                                stored.description, stored.counterparty_name, stored.counterparty_account_id,
                                stored.client_reference) AS fingerprint
      FROM suspect_days AS days
      -- An entry is made about when it is booked, which is what an index can find.
      JOIN snapshot.transactions AS stored
        ON stored.account_id = days.account_id AND stored.booked_on = days.day AND stored.status = 'posted'
       AND stored.created_at >= days.day - 45 AND stored.created_at < days.day + 10
     WHERE (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM incoming)
       AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended)),
counted AS (
    SELECT account_id, fingerprint, sum(old) AS old, sum(new) AS new
      FROM (SELECT account_id, fingerprint, 1 AS old, 0 AS new FROM held
            UNION ALL
            SELECT account_id, fingerprint, 0, 1 FROM came
             WHERE status = 'posted' AND account_id IN (SELECT account_id FROM suspect)) AS shown
     GROUP BY account_id, fingerprint)
SELECT account_id, sum(least(old, new)) AS again
  FROM counted
 GROUP BY account_id
HAVING count(*) FILTER (WHERE old > 0 AND new > 0) >= %(rows_min)s AND 2 * sum(least(old, new)) >= sum(old);

-- name: came_doubles
-- How many kinds of what came are equal to something of ours that the pass has not shown so far: it may come yet, as a
-- twin, or it is the same entry under its old id.
WITH days AS MATERIALIZED (
    SELECT DISTINCT account_id, day FROM came),
held AS (
    SELECT stored.account_id,
           snapshot.fingerprint(stored.status, days.day, stored.amount_minor, stored.currency, stored.type,
                                stored.description, stored.counterparty_name, stored.counterparty_account_id,
                                stored.client_reference) AS fingerprint
      FROM days
      -- An entry is made about when it is booked, which is what an index can find.
      JOIN snapshot.transactions AS stored
        ON stored.account_id = days.account_id
       AND coalesce(stored.booked_on, (stored.created_at AT TIME ZONE 'UTC')::date) = days.day
       AND stored.created_at >= days.day - 45 AND stored.created_at < days.day + 10
     WHERE EXISTS (
           SELECT FROM sync.missing
            WHERE (missing.account_id, missing.transaction_id) = (stored.account_id, stored.transaction_id)))
SELECT count(*) AS entries
  FROM (SELECT account_id, fingerprint FROM held INTERSECT SELECT account_id, fingerprint FROM came) AS twins;

-- ── re-keyed ─────────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: gone_note_removed
-- What the bank removed in this changeset.
INSERT INTO gone (account_id, transaction_id, client_reference, created_at, fingerprint)
SELECT account_id, transaction_id, client_reference, created_at,
       snapshot.fingerprint(status, coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date), amount_minor, currency,
                            type, description, counterparty_name, counterparty_account_id, client_reference)
  FROM ended
 WHERE ended_by = 'removed';

-- name: gone_note_missing
-- What a pass over everything did not show, unless its new id waits for a second look already.
INSERT INTO gone (account_id, transaction_id, client_reference, created_at, fingerprint)
SELECT account_id, transaction_id, client_reference, created_at,
       snapshot.fingerprint(status, coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date), amount_minor, currency,
                            type, description, counterparty_name, counterparty_account_id, client_reference)
  FROM sync.missing JOIN snapshot.transactions USING (account_id, transaction_id)
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
   AND (account_id, transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended)
   AND NOT EXISTS (
       SELECT FROM snapshot.transaction_links AS link
        WHERE (link.account_id, link.predecessor_id) = (missing.account_id, missing.transaction_id)
          AND link.kind = 'rekeyed' AND link.state IN ('suggested', 'confirmed'));

-- name: gone_note_lately
-- What ended without a successor in the last days, of the accounts that something came in: its new id may come later.
INSERT INTO gone (account_id, transaction_id, client_reference, created_at, fingerprint)
SELECT DISTINCT ON (account_id, transaction_id)
       account_id, transaction_id, client_reference, created_at,
       snapshot.fingerprint(status, coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date), amount_minor, currency,
                            type, description, counterparty_name, counterparty_account_id, client_reference)
  FROM snapshot.transaction_revisions AS was
 WHERE known_to > now() - make_interval(days => %(days)s) AND ended_by IN ('removed', 'absent')
   AND account_id IN (SELECT account_id FROM came)
   AND NOT EXISTS (
       SELECT FROM snapshot.transactions AS stored
        WHERE (stored.account_id, stored.transaction_id) = (was.account_id, was.transaction_id))
   AND (was.account_id, was.transaction_id) NOT IN (SELECT account_id, transaction_id FROM incoming)
   AND NOT EXISTS (
       SELECT FROM snapshot.transaction_links AS link
        WHERE (link.account_id, link.predecessor_id) = (was.account_id, was.transaction_id)
          AND link.state IN ('linked', 'confirmed'))
 ORDER BY account_id, transaction_id, known_to DESC;

-- name: gone_pair
-- Find the new id of what is gone: equal in all fields that stay, and in its number among equal ones. Two coffees of a day
-- are two of each, never one. A pair that somebody refused is not made again.
WITH old AS (
    SELECT account_id, transaction_id, fingerprint,
           row_number() OVER twin AS occurrence, count(*) OVER (PARTITION BY account_id, fingerprint) AS twins
      FROM gone
    WINDOW twin AS (PARTITION BY account_id, fingerprint ORDER BY created_at, transaction_id)),
new AS (
    SELECT account_id, transaction_id AS successor_id, fingerprint,
           row_number() OVER twin AS occurrence, count(*) OVER (PARTITION BY account_id, fingerprint) AS twins
      FROM came
    WINDOW twin AS (PARTITION BY account_id, fingerprint ORDER BY created_at, transaction_id))
UPDATE gone
   SET successor_id = new.successor_id, occurrence = old.occurrence, twins = greatest(old.twins, new.twins)
  FROM old JOIN new USING (account_id, fingerprint, occurrence)
 WHERE (gone.account_id, gone.transaction_id) = (old.account_id, old.transaction_id)
   AND gone.transaction_id <> new.successor_id
   AND (gone.account_id, gone.transaction_id, new.successor_id) NOT IN (
       SELECT account_id, predecessor_id, successor_id FROM snapshot.transaction_links
        WHERE state IN ('rejected', 'undone') AND decided_by NOT IN ('bank', 'ingest'));

-- name: ended_rekey
-- What the bank removed under one id and shows under another one was not removed.
UPDATE ended
   SET ended_by = 'rekeyed', successor_id = gone.successor_id
  FROM gone
 WHERE gone.successor_id IS NOT NULL AND ended.ended_by = 'removed'
   AND (ended.account_id, ended.transaction_id) = (gone.account_id, gone.transaction_id);

-- name: ended_rekey_missing
-- What a whole pass shows under another id is not missing. It need not wait for a second look: so many are the proof.
INSERT INTO ended (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, ended_by, successor_id)
SELECT stored.account_id, stored.transaction_id, stored.amount_minor, stored.currency, stored.status, stored.type,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, stored.booked_on, stored.content_hash, stored.known_from,
       stored.run_id,
       'rekeyed', gone.successor_id
  FROM gone JOIN snapshot.transactions AS stored USING (account_id, transaction_id)
 WHERE gone.successor_id IS NOT NULL;

-- name: missing_rekeyed
-- And is not asked about any more.
DELETE FROM sync.missing USING gone
 WHERE gone.successor_id IS NOT NULL
   AND (missing.account_id, missing.transaction_id) = (gone.account_id, gone.transaction_id);

-- name: links_suggest_rekeyed
-- Where a pass missed only few entries of an account whose like it shows under new ids, these may be twins: a page that
-- shifted skips one entry while another one arrives. They wait for a second look, and until then both are shown.
WITH switched AS (
    SELECT account_id FROM gone WHERE successor_id IS NOT NULL
     GROUP BY account_id HAVING count(DISTINCT fingerprint) >= %(rows_min)s),
waiting AS (
    DELETE FROM gone
     WHERE successor_id IS NOT NULL AND account_id NOT IN (SELECT account_id FROM switched)
    RETURNING account_id, transaction_id, successor_id, client_reference, occurrence, twins),
suggested AS (
    INSERT INTO snapshot.transaction_links AS link (
        account_id, predecessor_id, successor_id, kind, evidence, occurrence, confidence, state, run_id)
    SELECT account_id, transaction_id, successor_id, 'rekeyed',
           CASE WHEN client_reference IS NULL THEN 'fingerprint' ELSE 'bank-reference' END, occurrence,
           CASE WHEN client_reference IS NOT NULL THEN 0.95 WHEN twins = 1 THEN 0.90 ELSE 0.60 END, 'suggested',
           %(run_id)s
      FROM waiting
    ON CONFLICT (account_id, predecessor_id, successor_id) DO UPDATE
       SET kind = excluded.kind, evidence = excluded.evidence, occurrence = excluded.occurrence,
           confidence = excluded.confidence, state = 'suggested', run_id = excluded.run_id, found_at = now(),
           decided_at = NULL, decided_by = NULL, note = NULL
     WHERE link.state = 'suggested' OR link.decided_by IN ('bank', 'ingest'))
SELECT count(*) AS entries FROM waiting;

-- name: ended_rekey_absent
-- What two looks missed, and a suggestion says under which id it is shown, has that id now.
UPDATE ended
   SET ended_by = 'rekeyed', successor_id = link.successor_id
  FROM snapshot.transaction_links AS link
 WHERE (link.account_id, link.predecessor_id) = (ended.account_id, ended.transaction_id)
   AND link.kind = 'rekeyed' AND link.state IN ('suggested', 'confirmed') AND ended.ended_by IN ('removed', 'absent')
   AND EXISTS (
       SELECT FROM snapshot.transactions AS stored
        WHERE (stored.account_id, stored.transaction_id) = (link.account_id, link.successor_id))
   AND (link.account_id, link.successor_id) NOT IN (
       SELECT account_id, transaction_id FROM ended AS other WHERE other.ended_by <> 'changed')
   AND NOT EXISTS (
       SELECT FROM sync.missing
        WHERE (missing.account_id, missing.transaction_id) = (link.account_id, link.successor_id));

-- name: links_rekey_absent
-- And the suggestion is a link.
UPDATE snapshot.transaction_links AS link
   SET state = 'linked', run_id = %(run_id)s, found_at = now()
  FROM ended
 WHERE ended.ended_by = 'rekeyed' AND link.kind = 'rekeyed' AND link.state = 'suggested'
   AND (link.account_id, link.predecessor_id, link.successor_id)
     = (ended.account_id, ended.transaction_id, ended.successor_id);

-- name: links_withdraw_rekeyed
-- The second look has come: the bank shows the former id beside the new one, or neither. No question is left.
UPDATE snapshot.transaction_links AS link
   SET state = 'rejected', decided_at = now(), decided_by = 'bank', note = 'what the bank showed since speaks against it'
 WHERE state = 'suggested' AND kind = 'rekeyed'
   AND account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
   AND NOT EXISTS (
       SELECT FROM sync.missing
        WHERE (missing.account_id, missing.transaction_id) = (link.account_id, link.predecessor_id));

-- name: links_rekeyed
-- Write down which id became which, and how we know.
INSERT INTO snapshot.transaction_links AS link (
    account_id, predecessor_id, successor_id, kind, evidence, occurrence, confidence, state, run_id)
SELECT account_id, transaction_id, successor_id, 'rekeyed',
       CASE WHEN client_reference IS NULL THEN 'fingerprint' ELSE 'bank-reference' END, occurrence,
       CASE WHEN client_reference IS NOT NULL THEN 0.99 WHEN twins = 1 THEN 0.95 ELSE 0.90 END, 'linked', %(run_id)s
  FROM gone
 WHERE successor_id IS NOT NULL
ON CONFLICT (account_id, predecessor_id, successor_id) DO UPDATE
   SET kind = excluded.kind, evidence = excluded.evidence, occurrence = excluded.occurrence,
       confidence = excluded.confidence, state = 'linked', run_id = excluded.run_id, found_at = now(),
       decided_at = NULL, decided_by = NULL, note = NULL
 WHERE link.state = 'suggested' OR link.decided_by IN ('bank', 'ingest');

-- name: came_used
-- What is the new id of one entry is not that of another one.
DELETE FROM came USING gone
 WHERE (came.account_id, came.transaction_id) = (gone.account_id, gone.successor_id);

-- name: gone_clear
-- The next ones are compared for themselves.
DELETE FROM gone;

-- ── pending that became posted, and the bank does not say so ─────────────────────────────────────────────────────────

-- name: holds_note
-- The pending entries of accounts that a posted one came in, which names none: those that are shown, those that come with
-- it, and those that ended lately without a successor.
INSERT INTO holds (
    account_id, transaction_id, day, amount_minor, currency, description, counterparty_name, counterparty_account_id,
    client_reference)
SELECT account_id, transaction_id, (created_at AT TIME ZONE 'UTC')::date, amount_minor, currency, description,
       counterparty_name, counterparty_account_id, client_reference
  FROM snapshot.transactions AS stored
 WHERE status = 'pending' AND account_id = ANY (%(accounts)s)
   AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM incoming)
UNION ALL
SELECT account_id, transaction_id, (created_at AT TIME ZONE 'UTC')::date, amount_minor, currency, description,
       counterparty_name, counterparty_account_id, client_reference
  FROM incoming
 WHERE status = 'pending' AND account_id = ANY (%(accounts)s)
UNION ALL
SELECT DISTINCT ON (account_id, transaction_id)
       account_id, transaction_id, (created_at AT TIME ZONE 'UTC')::date, amount_minor, currency, description,
       counterparty_name, counterparty_account_id, client_reference
  FROM snapshot.transaction_revisions AS was
 WHERE known_to > now() - make_interval(days => %(days)s) AND ended_by IN ('removed', 'absent') AND status = 'pending'
   AND account_id = ANY (%(accounts)s)
   AND NOT EXISTS (
       SELECT FROM snapshot.transactions AS stored
        WHERE (stored.account_id, stored.transaction_id) = (was.account_id, was.transaction_id))
   AND (was.account_id, was.transaction_id) NOT IN (SELECT account_id, transaction_id FROM incoming)
   AND NOT EXISTS (
       SELECT FROM snapshot.transaction_links AS link
        WHERE (link.account_id, link.predecessor_id) = (was.account_id, was.transaction_id)
          AND link.state IN ('linked', 'confirmed'));

-- name: came_accounts
-- The accounts in which a posted entry came that names no pending one.
SELECT coalesce(array_agg(DISTINCT account_id), '{}') AS accounts
  FROM came WHERE status = 'posted' AND pending_transaction_id IS NULL;

-- name: holds_note_ended
-- Pending entries that end now without a successor, and that nothing was found for when it came.
INSERT INTO holds (
    account_id, transaction_id, day, amount_minor, currency, description, counterparty_name, counterparty_account_id,
    client_reference)
SELECT account_id, transaction_id, (created_at AT TIME ZONE 'UTC')::date, amount_minor, currency, description,
       counterparty_name, counterparty_account_id, client_reference
  FROM ended
 WHERE status = 'pending' AND ended_by IN ('removed', 'absent')
   AND NOT EXISTS (
       SELECT FROM snapshot.transaction_links AS link
        WHERE (link.account_id, link.predecessor_id) = (ended.account_id, ended.transaction_id));

-- name: came_note_posted
-- What was posted about that time, and is shown.
INSERT INTO came (
    account_id, transaction_id, status, day, amount_minor, currency, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, fingerprint)
SELECT DISTINCT ON (stored.account_id, stored.transaction_id)
       stored.account_id, stored.transaction_id, stored.status, stored.booked_on, stored.amount_minor, stored.currency,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, ''
  FROM holds
  JOIN snapshot.transactions AS stored
    ON stored.account_id = holds.account_id AND stored.status = 'posted' AND stored.pending_transaction_id IS NULL
   AND stored.created_at >= holds.day - 1 AND stored.created_at < holds.day + %(days)s::integer + 1
   AND stored.currency = holds.currency AND sign(stored.amount_minor) = sign(holds.amount_minor)
   AND abs(stored.amount_minor - holds.amount_minor) <= %(tolerance)s * abs(holds.amount_minor)
 WHERE (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended)
   AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM came);

-- name: links_suggest_settled
-- Which pending entry each posted one may have been: the same text or counterparty, the same direction, within days, and
-- the same amount or nearly (a tip, fuel, an exchange rate). The nearest few; who is it is decided when one is gone.
INSERT INTO snapshot.transaction_links AS link (
    account_id, predecessor_id, successor_id, kind, evidence, confidence, state, run_id)
SELECT account_id, predecessor_id, successor_id, 'settled', evidence,
       CASE evidence WHEN 'bank-reference' THEN 0.95 WHEN 'fingerprint' THEN 0.90 ELSE 0.50 END, 'suggested', %(run_id)s
  FROM (SELECT holds.account_id, holds.transaction_id AS predecessor_id, came.transaction_id AS successor_id, evidence,
               row_number() OVER (
                   PARTITION BY came.account_id, came.transaction_id
                   ORDER BY evidence = 'resembles', abs(came.amount_minor - holds.amount_minor),
                            abs(came.day - holds.day), holds.transaction_id) AS place
          FROM came JOIN holds
            ON holds.account_id = came.account_id AND holds.currency = came.currency
           AND sign(came.amount_minor) = sign(holds.amount_minor)
           AND abs(came.amount_minor - holds.amount_minor) <= %(tolerance)s * abs(holds.amount_minor)
           AND came.day BETWEEN holds.day - 1 AND holds.day + %(days)s::integer
           AND came.transaction_id <> holds.transaction_id
         CROSS JOIN LATERAL (
               SELECT came.client_reference = holds.client_reference AS by_reference,
                      came.description = holds.description AS by_text,
                      (came.counterparty_name, came.counterparty_account_id)
                          IS NOT DISTINCT FROM (holds.counterparty_name, holds.counterparty_account_id) AS by_party,
                      came.counterparty_name = holds.counterparty_name
                          OR came.counterparty_account_id = holds.counterparty_account_id AS by_name) AS alike
         CROSS JOIN LATERAL (
               SELECT CASE WHEN came.amount_minor = holds.amount_minor AND by_reference THEN 'bank-reference'
                           WHEN came.amount_minor = holds.amount_minor AND by_text AND by_party THEN 'fingerprint'
                           WHEN by_reference OR by_text OR by_name THEN 'resembles' END AS evidence) AS judged
         WHERE came.status = 'posted' AND came.pending_transaction_id IS NULL AND evidence IS NOT NULL) AS candidate
 WHERE place <= %(candidates_max)s
ON CONFLICT (account_id, predecessor_id, successor_id) DO NOTHING;

-- name: links_settle
-- A pending entry is gone, and one posted entry fits it exactly, and fits no other one: they are the same money.
WITH candidate AS (
    SELECT account_id, predecessor_id, successor_id,
           count(*) OVER (PARTITION BY account_id, predecessor_id) AS successors,
           count(*) OVER (PARTITION BY account_id, successor_id) AS predecessors
      FROM snapshot.transaction_links AS link
     WHERE state = 'suggested' AND kind = 'settled' AND evidence IN ('bank-reference', 'fingerprint')
       AND account_id = ANY (ARRAY(SELECT account_id FROM ended UNION SELECT account_id FROM incoming))
       AND (EXISTS (
               SELECT FROM snapshot.transactions AS stored
                WHERE (stored.account_id, stored.transaction_id) = (link.account_id, link.successor_id)
                  AND NOT EXISTS (
                      SELECT FROM ended
                       WHERE (ended.account_id, ended.transaction_id) = (link.account_id, link.successor_id)
                         AND ended.ended_by <> 'changed'))
            OR EXISTS (
               SELECT FROM incoming
                WHERE (incoming.account_id, incoming.transaction_id) = (link.account_id, link.successor_id))))
UPDATE snapshot.transaction_links AS link
   SET state = 'linked', run_id = %(run_id)s, found_at = now()
  FROM candidate
 WHERE (link.account_id, link.predecessor_id, link.successor_id)
     = (candidate.account_id, candidate.predecessor_id, candidate.successor_id)
   AND candidate.successors = 1 AND candidate.predecessors = 1
   AND NOT EXISTS (
       SELECT FROM incoming
        WHERE (incoming.account_id, incoming.transaction_id) = (link.account_id, link.predecessor_id))
   AND NOT EXISTS (
       SELECT FROM snapshot.transactions AS stored
        WHERE (stored.account_id, stored.transaction_id) = (link.account_id, link.predecessor_id)
          AND NOT EXISTS (
              SELECT FROM ended
               WHERE (ended.account_id, ended.transaction_id) = (link.account_id, link.predecessor_id)
                 AND ended.ended_by IN ('removed', 'absent')));

-- name: links_void
-- What is linked now is no candidate for another one any more.
UPDATE snapshot.transaction_links AS link
   SET state = 'rejected', decided_at = now(), decided_by = 'ingest',
       note = 'settled as ' || made.predecessor_id || ' -> ' || made.successor_id
  FROM snapshot.transaction_links AS made
 WHERE made.run_id = %(run_id)s AND made.state = 'linked' AND made.kind = 'settled'
   AND made.account_id = ANY (ARRAY(SELECT account_id FROM ended UNION SELECT account_id FROM incoming))
   AND link.account_id = made.account_id AND link.state = 'suggested' AND link.kind = 'settled'
   AND (link.predecessor_id = made.predecessor_id OR link.successor_id = made.successor_id);

-- name: ended_settle
-- What is linked ended as settled, and not as removed.
UPDATE ended
   SET ended_by = 'settled', successor_id = link.successor_id
  FROM snapshot.transaction_links AS link
 WHERE (link.account_id, link.predecessor_id) = (ended.account_id, ended.transaction_id)
   AND link.kind = 'settled' AND link.state IN ('linked', 'confirmed')
   AND ended.status = 'pending' AND ended.ended_by IN ('removed', 'absent');

-- name: links_suggest_same
-- One client reference, amount and day under two ids, both posted: the bank may show one entry twice.
INSERT INTO snapshot.transaction_links (
    account_id, predecessor_id, successor_id, kind, evidence, confidence, state, run_id)
SELECT came.account_id, twin.transaction_id, came.transaction_id, 'same', 'bank-reference', 0.60, 'suggested', %(run_id)s
  FROM came
  JOIN LATERAL (
       SELECT transaction_id FROM snapshot.transactions AS stored
        WHERE stored.account_id = came.account_id AND stored.client_reference = came.client_reference
          AND stored.status = 'posted' AND stored.amount_minor = came.amount_minor AND stored.booked_on = came.day
          AND stored.transaction_id <> came.transaction_id
          AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended)
       UNION ALL
       SELECT transaction_id FROM came AS beside
        WHERE beside.account_id = came.account_id AND beside.client_reference = came.client_reference
          AND beside.status = 'posted' AND beside.amount_minor = came.amount_minor AND beside.day = came.day
          AND beside.transaction_id < came.transaction_id
        LIMIT %(candidates_max)s) AS twin ON true
 WHERE came.status = 'posted' AND came.client_reference IS NOT NULL
ON CONFLICT (account_id, predecessor_id, successor_id) DO NOTHING;

-- ── what the bank says itself, and what it takes back ────────────────────────────────────────────────────────────────

-- name: links_provider
-- A posted entry named the pending one that it was.
INSERT INTO snapshot.transaction_links AS link (
    account_id, predecessor_id, successor_id, kind, evidence, confidence, state, run_id)
SELECT DISTINCT account_id, transaction_id, successor_id, 'settled', 'provider-link', 1, 'linked', %(run_id)s::bigint
  FROM ended
 WHERE ended_by = 'settled'
ON CONFLICT (account_id, predecessor_id, successor_id) DO UPDATE
   SET kind = excluded.kind, evidence = excluded.evidence, confidence = excluded.confidence, state = 'linked',
       run_id = excluded.run_id, found_at = now(), decided_at = NULL, decided_by = NULL, note = NULL
 WHERE link.state = 'suggested' OR (link.state = 'linked' AND link.evidence <> 'provider-link')
    OR link.decided_by IN ('bank', 'ingest');

-- name: links_take_back
-- The bank shows again what it had replaced: the link does not hold any more. Where it was a conclusion of ours, and what
-- it was drawn from is still there, it is a suggestion again.
UPDATE snapshot.transaction_links AS link
   SET state = CASE WHEN suggests THEN 'suggested' ELSE 'undone' END,
       decided_at = CASE WHEN NOT suggests THEN now() END,
       decided_by = CASE WHEN NOT suggests THEN 'bank' END,
       note = CASE WHEN NOT suggests THEN 'the bank shows the former id again' END
  FROM (SELECT made.account_id, made.predecessor_id, made.successor_id,
               made.kind = 'settled' AND made.evidence <> 'provider-link' AND EXISTS (
                   SELECT FROM snapshot.transactions AS stored
                    WHERE (stored.account_id, stored.transaction_id) = (made.account_id, made.successor_id)
                      AND stored.status = 'posted') AS suggests
          FROM incoming
          -- OFFSET 0 keeps this a look-up by the key for each row.
          JOIN LATERAL (
               SELECT * FROM snapshot.transaction_links AS made
                WHERE made.account_id = incoming.account_id AND made.predecessor_id = incoming.transaction_id
                  AND made.state = 'linked' AND made.kind IN ('settled', 'rekeyed')
               OFFSET 0) AS made ON true) AS again
 WHERE (link.account_id, link.predecessor_id, link.successor_id)
     = (again.account_id, again.predecessor_id, again.successor_id);

-- ── what people decide ───────────────────────────────────────────────────────────────────────────────────────────────

-- name: links_list
-- Links of transactions and of accounts, those that wait for somebody first, then the newest; each with what is known of
-- either side, as it was last shown. Looked up for the few that are listed.
WITH link AS MATERIALIZED (
    SELECT * FROM (
    SELECT link_id, 'transaction' AS subject, account_id, predecessor_id AS former_id, successor_id AS new_id, kind,
           evidence, confidence, NULL::bigint AS rows_seen, NULL::bigint AS rows_equal, state, found_at, decided_by, note,
           NULL AS listed_name
      FROM read.transaction_links
     WHERE state = ANY (%(states)s) AND (%(link_id)s::text IS NULL OR link_id = %(link_id)s)
    UNION ALL
    SELECT link_id, 'account', account_id, account_id, listed_id, 'same', evidence, NULL, rows_seen, rows_equal, state,
           found_at, decided_by, note, name
      FROM read.account_links
     WHERE state = ANY (%(states)s) AND (%(link_id)s::text IS NULL OR link_id = %(link_id)s)) AS link
     ORDER BY state = 'suggested' DESC, subject, confidence DESC, found_at DESC, link_id
     LIMIT %(rows_max)s),
sides AS (
    SELECT DISTINCT ON (account_id, transaction_id) account_id, transaction_id,
           jsonb_build_object('amount_minor', amount_minor, 'currency', currency, 'text', read.shown(description),
                              'day', coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date)) AS side
      FROM (SELECT DISTINCT account_id, transaction_id
              FROM link CROSS JOIN unnest(ARRAY[former_id, new_id]) AS transaction_id
             WHERE subject = 'transaction') AS named
      JOIN LATERAL (
           SELECT amount_minor, currency, description, booked_on, created_at, 'infinity' AS known_to
             FROM snapshot.transactions AS stored
            WHERE (stored.account_id, stored.transaction_id) = (named.account_id, named.transaction_id)
           UNION ALL
           SELECT amount_minor, currency, description, booked_on, created_at, known_to
             FROM snapshot.transaction_revisions AS past
            WHERE (past.account_id, past.transaction_id) = (named.account_id, named.transaction_id)) AS version ON true
     ORDER BY account_id, transaction_id, known_to DESC)
SELECT link_id, subject, link.account_id, former_id, new_id, kind, evidence, confidence, rows_seen, rows_equal, state,
       found_at, decided_by, note,
       CASE subject WHEN 'transaction' THEN former.side
            ELSE jsonb_build_object('currency', account.currency, 'text', read.shown(account.name)) END AS former,
       CASE subject WHEN 'transaction' THEN new.side ELSE jsonb_build_object('text', listed_name) END AS new
  FROM link
  LEFT JOIN snapshot.accounts AS account ON account.account_id = link.account_id
  LEFT JOIN sides AS former
    ON subject = 'transaction' AND (former.account_id, former.transaction_id) = (link.account_id, link.former_id)
  LEFT JOIN sides AS new
    ON subject = 'transaction' AND (new.account_id, new.transaction_id) = (link.account_id, link.new_id)
 ORDER BY state = 'suggested' DESC, subject, confidence DESC, found_at DESC, link_id;

-- name: link_rule
-- Somebody decides about two transactions.
UPDATE snapshot.transaction_links
   SET state = %(state)s, decided_at = now(), decided_by = %(by)s, note = %(note)s
 WHERE (account_id, predecessor_id, successor_id) = (%(account_id)s, %(former_id)s, %(new_id)s)
   AND state = %(was)s;

-- name: link_rule_out
-- With that, what else was suggested for either of the two is void.
UPDATE snapshot.transaction_links
   SET state = 'rejected', decided_at = now(), decided_by = 'ingest', note = 'confirmed as ' || %(former_id)s || ' -> ' || %(new_id)s
 WHERE account_id = %(account_id)s AND state = 'suggested' AND kind = 'settled'
   AND (predecessor_id = %(former_id)s OR successor_id = %(new_id)s);

-- name: account_rule_lock
-- Before somebody decides about two accounts, wait until nobody stores what depends on it, and let nobody: in the order in
-- which everybody locks (see relink.sql).
SELECT FROM sync.targets
 WHERE connection_id = (SELECT connection_id FROM sync.account_links
                         WHERE (account_id, listed_id) = (%(account_id)s, %(new_id)s))
   AND feed IN ('accounts', 'transactions', 'balances')
 ORDER BY feed = 'accounts' DESC, feed DESC, account_id
   FOR UPDATE;

-- name: account_rule
-- Somebody decides about two accounts.
UPDATE sync.account_links
   SET state = %(state)s, decided_at = now(), decided_by = %(by)s, note = %(note)s
 WHERE (account_id, listed_id) = (%(account_id)s, %(new_id)s) AND state = %(was)s
RETURNING connection_id;
