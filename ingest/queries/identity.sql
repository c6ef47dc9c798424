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
