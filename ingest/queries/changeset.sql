-- Transactions: what one changeset does to the mirror, its history and its totals.

-- name: stage_create
-- What one changeset is made of while its transaction runs. Made once per connection, emptied by every COMMIT.
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    -- the fields of banks.ports.FetchedTransaction, in its order
    account_id text NOT NULL, transaction_id text NOT NULL, amount_minor bigint NOT NULL, currency text NOT NULL,
    status text NOT NULL, type text NOT NULL, description text NOT NULL, counterparty_name text,
    counterparty_account_id text, client_reference text, pending_transaction_id text, created_at timestamptz NOT NULL,
    booked_on date, content_hash bytea NOT NULL,
    -- as in snapshot.transactions, so that the same bytes can be copied there; empty in rows that were not copied
    run_id bigint
) ON COMMIT DELETE ROWS;

-- Versions that stop being what the bank shows: they leave the totals and become history.
CREATE TEMPORARY TABLE IF NOT EXISTS ended (
    LIKE snapshot.transactions, ended_by text NOT NULL, successor_id text
) ON COMMIT DELETE ROWS;

-- name: incoming_copy
-- Where the rows of a changeset are copied to.
COPY incoming FROM STDIN (FORMAT binary);

-- name: incoming_count_known
-- How many of the incoming rows the mirror has, in whatever version, and how many of them booked.
SELECT count(*) AS known, count(*) FILTER (WHERE stored.status = 'posted') AS posted
  FROM incoming JOIN snapshot.transactions AS stored USING (account_id, transaction_id);

-- name: incoming_mutated
-- Whether an earlier stretch of the same listing stored one of these rows in another version.
SELECT EXISTS (
    SELECT FROM incoming JOIN snapshot.transactions AS stored USING (account_id, transaction_id)
     WHERE stored.known_from >= %(began)s AND stored.content_hash <> incoming.content_hash) AS mutated;

-- name: incoming_drop_unchanged
-- What the mirror has exactly so already is no change.
DELETE FROM incoming USING snapshot.transactions AS stored
 WHERE (incoming.account_id, incoming.transaction_id, incoming.content_hash)
     = (stored.account_id, stored.transaction_id, stored.content_hash);

-- name: incoming_defer
-- What the mirror does not have of the first and the last day of a slice, which are not judged with it: the next slice, or
-- the one before, shows and judges it. Nothing comes before the first slice and after the last one.
DELETE FROM incoming
 USING (SELECT nullif(%(first)s::date, '1970-01-01') AS first,
               CASE WHEN %(last)s::date <= (clock_timestamp() AT TIME ZONE 'UTC')::date THEN %(last)s::date END AS last) AS slice
 WHERE (coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) <= slice.first
        OR coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) >= slice.last)
   AND NOT EXISTS (
       SELECT FROM snapshot.transactions AS stored
        WHERE (stored.account_id, stored.transaction_id) = (incoming.account_id, incoming.transaction_id));

-- name: holds_forget
-- What the bank shows or removes now decides anew whether there is a hold to hide.
DELETE FROM sync.hidden_holds AS hidden
 USING (SELECT account_id, transaction_id FROM incoming
        UNION ALL
        SELECT * FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]))
       AS told (account_id, transaction_id)
 WHERE (hidden.account_id, hidden.transaction_id) = (told.account_id, told.transaction_id);

-- name: holds_forget_all
-- A pass that shows everything begins: it shows every hold that there still is.
DELETE FROM sync.hidden_holds
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id));

-- name: incoming_settled
-- Pending rows that come after, or together with, the posted entry that they became. They are kept as history that was
-- never believed, and are not shown: the money would be counted twice. They are hidden for as long as both are there.
WITH late AS (
    SELECT incoming.*, posted.transaction_id AS successor_id
      FROM incoming
      JOIN LATERAL (
           SELECT transaction_id FROM incoming AS beside
            WHERE beside.status = 'posted' AND beside.account_id = incoming.account_id
              AND beside.pending_transaction_id = incoming.transaction_id
           UNION ALL
           SELECT transaction_id FROM snapshot.transactions AS stored
            WHERE stored.status = 'posted' AND stored.account_id = incoming.account_id
              AND stored.pending_transaction_id = incoming.transaction_id
              AND NOT EXISTS (
                  SELECT FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]) AS removed (account_id, id)
                   WHERE (removed.account_id, removed.id) = (stored.account_id, stored.transaction_id))
            LIMIT 1) AS posted ON posted.transaction_id <> incoming.transaction_id
     WHERE incoming.status = 'pending'),
kept AS (
    INSERT INTO snapshot.transaction_revisions (
        account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
        counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
        known_from, run_id, known_to, ended_by, successor_id, ended_run_id)
    SELECT late.account_id, late.transaction_id, amount_minor, currency, status, type, description, counterparty_name,
           counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
           now(), %(run_id)s, now(), 'settled', successor_id, %(run_id)s
      FROM late
     WHERE NOT EXISTS (
           SELECT FROM snapshot.transaction_revisions AS kept
            WHERE (kept.account_id, kept.transaction_id, kept.content_hash)
                = (late.account_id, late.transaction_id, late.content_hash))
       AND NOT EXISTS (
           SELECT FROM snapshot.transactions AS stored
            WHERE (stored.account_id, stored.transaction_id) = (late.account_id, late.transaction_id))),
linked AS (
    INSERT INTO snapshot.transaction_links AS link (
        account_id, predecessor_id, successor_id, kind, evidence, confidence, state, run_id)
    SELECT account_id, transaction_id, successor_id, 'settled', 'provider-link', 1, 'linked', %(run_id)s FROM late
    ON CONFLICT (account_id, predecessor_id, successor_id) DO UPDATE
       SET kind = excluded.kind, evidence = excluded.evidence, confidence = excluded.confidence, state = 'linked',
           run_id = excluded.run_id, found_at = now(), decided_at = NULL, decided_by = NULL, note = NULL
     WHERE link.state = 'suggested' OR (link.state = 'linked' AND link.evidence <> 'provider-link')
        OR link.decided_by IN ('bank', 'ingest')),
hidden AS (
    INSERT INTO sync.hidden_holds (
        account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
        counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash)
    SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
           counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash
      FROM late)
DELETE FROM incoming USING late
 WHERE (incoming.account_id, incoming.transaction_id) = (late.account_id, late.transaction_id);

-- name: ended_changed
-- The version before, of every row that comes in another one.
INSERT INTO ended (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, ended_by, successor_id)
SELECT stored.account_id, stored.transaction_id, stored.amount_minor, stored.currency, stored.status, stored.type,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, stored.booked_on, stored.content_hash, stored.known_from,
       stored.run_id,
       'changed', NULL
  FROM snapshot.transactions AS stored JOIN incoming USING (account_id, transaction_id);

-- name: ended_settled
-- Pending rows whose posted entry came in: they are the same money, so they stop being shown.
INSERT INTO ended (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, ended_by, successor_id)
SELECT DISTINCT ON (stored.account_id, stored.transaction_id)
       stored.account_id, stored.transaction_id, stored.amount_minor, stored.currency, stored.status, stored.type,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, stored.booked_on, stored.content_hash, stored.known_from,
       stored.run_id,
       'settled', posted.transaction_id
  FROM incoming AS posted
  JOIN snapshot.transactions AS stored
    ON stored.account_id = posted.account_id AND stored.transaction_id = posted.pending_transaction_id
 WHERE posted.status = 'posted' AND stored.status = 'pending' AND stored.transaction_id <> posted.transaction_id
   AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM incoming)
 ORDER BY stored.account_id, stored.transaction_id, posted.transaction_id;

-- name: holds_hide
-- Settled, but the bank did not remove the pending row: it still shows it. A pass from the start shows what there is, so
-- there only a row counts that it showed already (and did not leave noted as missing).
INSERT INTO sync.hidden_holds (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash)
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash
  FROM ended
 WHERE ended_by = 'settled'
   AND NOT EXISTS (
       SELECT FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]) AS removed (account_id, id)
        WHERE (removed.account_id, removed.id) = (ended.account_id, ended.transaction_id))
   AND NOT (%(from_start)s AND EXISTS (
       SELECT FROM sync.missing
        WHERE (missing.account_id, missing.transaction_id) = (ended.account_id, ended.transaction_id)))
ON CONFLICT (account_id, transaction_id) DO NOTHING;

-- name: holds_return
-- The posted entry is gone, or names another pending row now: what it hid is shown again.
WITH back AS (
    DELETE FROM sync.hidden_holds AS hidden
     USING (SELECT DISTINCT account_id, pending_transaction_id FROM ended
             WHERE status = 'posted' AND pending_transaction_id IS NOT NULL AND ended_by <> 'rekeyed')
               AS was (account_id, hold_id)
     WHERE (hidden.account_id, hidden.transaction_id) = (was.account_id, was.hold_id)
       AND NOT EXISTS (
           SELECT FROM incoming AS posted
            WHERE posted.status = 'posted' AND posted.account_id = hidden.account_id
              AND posted.pending_transaction_id = hidden.transaction_id)
       AND NOT EXISTS (
           SELECT FROM snapshot.transactions AS posted
            WHERE posted.status = 'posted' AND posted.account_id = hidden.account_id
              AND posted.pending_transaction_id = hidden.transaction_id
              AND NOT EXISTS (
                  SELECT FROM ended
                   WHERE (ended.account_id, ended.transaction_id) = (posted.account_id, posted.transaction_id)))
    RETURNING hidden.*)
INSERT INTO incoming (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash)
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash
  FROM back;

-- name: ended_removed
-- Rows that the bank says it removed, unless their posted entry explains it better.
INSERT INTO ended (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, ended_by, successor_id)
SELECT stored.account_id, stored.transaction_id, stored.amount_minor, stored.currency, stored.status, stored.type,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, stored.booked_on, stored.content_hash, stored.known_from,
       stored.run_id,
       'removed', NULL
  FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]) AS removed (account_id, transaction_id)
  JOIN snapshot.transactions AS stored USING (account_id, transaction_id)
 WHERE (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended);

-- name: ended_archive
-- Old versions become history. An interval is never empty and meets the next one, even if the clock was set back.
INSERT INTO snapshot.transaction_revisions (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, known_to, ended_by, successor_id, ended_run_id)
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
       known_from, run_id, greatest(now(), known_from + interval '1 us'), ended_by, successor_id, %(run_id)s
  FROM ended;

-- name: ended_delete
-- What ended without a newer version leaves the mirror.
DELETE FROM snapshot.transactions AS stored USING ended
 WHERE ended.ended_by <> 'changed'
   AND (stored.account_id, stored.transaction_id) = (ended.account_id, ended.transaction_id);

-- name: totals_move
-- Take the old versions out of the daily totals and put the new ones in. Only posted money counts.
INSERT INTO snapshot.daily_totals AS total (account_id, booked_on, currency, in_minor, out_minor, entries)
SELECT account_id, booked_on, currency,
       coalesce(sum(amount * sign) FILTER (WHERE amount > 0), 0),
       coalesce(sum(amount * sign) FILTER (WHERE amount < 0), 0),
       sum(sign)
  FROM (SELECT account_id, booked_on, currency, amount_minor, 1 FROM incoming WHERE status = 'posted'
        UNION ALL
        SELECT account_id, booked_on, currency, amount_minor, -1 FROM ended WHERE status = 'posted')
       AS moved (account_id, booked_on, currency, amount, sign)
 GROUP BY account_id, booked_on, currency
 ORDER BY account_id, booked_on, currency
ON CONFLICT (account_id, booked_on, currency) DO UPDATE
   SET in_minor = total.in_minor + excluded.in_minor,
       out_minor = total.out_minor + excluded.out_minor,
       entries = total.entries + excluded.entries;

-- name: totals_add
-- Add the sums of rows that are new to the daily totals.
INSERT INTO snapshot.daily_totals AS total (account_id, booked_on, currency, in_minor, out_minor, entries)
SELECT * FROM unnest(%(accounts)s::text[], %(days)s::date[], %(currencies)s::text[],
                     %(ins)s::bigint[], %(outs)s::bigint[], %(entries)s::bigint[])
ON CONFLICT (account_id, booked_on, currency) DO UPDATE
   SET in_minor = total.in_minor + excluded.in_minor,
       out_minor = total.out_minor + excluded.out_minor,
       entries = total.entries + excluded.entries;

-- name: transactions_copy
-- Where the rows of a changeset go straight to when every one of them is new: twice as fast as the upsert.
COPY snapshot.transactions (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash, run_id)
FROM STDIN (FORMAT binary);

-- name: incoming_upsert
-- Store what is new or different, in the order of the key so that two writers cannot lock each other out.
INSERT INTO snapshot.transactions AS stored (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id)
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
       now(), %(run_id)s
  FROM incoming
 ORDER BY account_id, transaction_id
ON CONFLICT (account_id, transaction_id) DO UPDATE
   SET amount_minor = excluded.amount_minor, currency = excluded.currency, status = excluded.status,
       type = excluded.type, description = excluded.description, counterparty_name = excluded.counterparty_name,
       counterparty_account_id = excluded.counterparty_account_id, client_reference = excluded.client_reference,
       pending_transaction_id = excluded.pending_transaction_id, created_at = excluded.created_at,
       booked_on = excluded.booked_on, content_hash = excluded.content_hash,
       known_from = greatest(excluded.known_from, stored.known_from + interval '1 us'), run_id = excluded.run_id;
