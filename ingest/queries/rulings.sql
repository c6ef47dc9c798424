-- Identity: what people decide.

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
