-- Statements of chaos: what it takes to correct what was told wrongly, and to do to the books what banks do to them.
-- All of them run under the ledger's lock, and take the positions that follow its head.

-- name: transactions_restate
-- Tell these rows again, as they are. Rows that are gone meanwhile have told so themselves.
WITH again AS (
  SELECT t.transaction_id, l.head + row_number() OVER (ORDER BY t.position) AS position
    FROM bank.transactions AS t, bank.ledger AS l WHERE t.transaction_id = ANY (%(transaction_ids)s::text[])
), moved AS (
  UPDATE bank.transactions AS t SET position = a.position FROM again AS a WHERE t.transaction_id = a.transaction_id
  RETURNING 1
)
SELECT count(*)::integer AS moved FROM moved;

-- name: transactions_withdraw
-- Tombstones for rows that never were. Born first, so that every client with a cursor is told.
WITH invented AS (
  SELECT i.*, row_number() OVER (ORDER BY i.transaction_id) AS place
    FROM unnest(%(transaction_ids)s::text[], %(account_ids)s::text[]) AS i (transaction_id, account_id)
   WHERE NOT EXISTS (SELECT FROM bank.transactions AS t WHERE t.transaction_id = i.transaction_id)
     AND NOT EXISTS (SELECT FROM bank.removals AS r WHERE r.transaction_id = i.transaction_id)
), withdrawn AS (
  INSERT INTO bank.removals (position, born, transaction_id, account_id)
  SELECT %(head)s::bigint + place, 1, transaction_id, account_id FROM invented RETURNING 1
)
SELECT count(*)::integer AS withdrawn FROM withdrawn;

-- name: transactions_choose
-- Transactions that something may happen to, those that changed last first.
SELECT t.transaction_id, t.account_id, t.amount_cents, t.type, t.description, t.created_at, t.booked_on,
       t.counterparty_name, t.counterparty_account_id
  FROM bank.transactions AS t
 WHERE (%(transaction_id)s::text IS NULL OR t.transaction_id = %(transaction_id)s)
   AND (%(account_id)s::text IS NULL OR t.account_id = %(account_id)s)
   AND (%(status)s::text IS NULL OR t.status = %(status)s)
   -- Transfers are somebody's, with two legs that agree: not touched by chance.
   AND (%(transaction_id)s::text IS NOT NULL OR t.type <> 'transfer')
 ORDER BY t.position DESC LIMIT 50;

-- name: transactions_rekey
-- Rows get other ids, as new rows do, and another account if one is given; with tombstones for the old ids, or without.
WITH chosen AS (
  SELECT t.transaction_id, t.account_id, t.born, l.seed, l.head + row_number() OVER (ORDER BY t.position) AS told_at,
         CASE WHEN %(removed)s THEN count(*) OVER () ELSE 0 END AS tombstones
    FROM bank.transactions AS t, bank.ledger AS l
   WHERE (%(account_id)s::text IS NULL OR t.account_id = %(account_id)s)
     AND (%(transaction_id)s::text IS NULL OR t.transaction_id = %(transaction_id)s)
), tombstones AS (
  INSERT INTO bank.removals (position, born, transaction_id, account_id)
  SELECT told_at, born, transaction_id, account_id FROM chosen WHERE %(removed)s
), named AS (
  SELECT transaction_id AS old_id, bank.transaction_id(seed, told_at + tombstones) AS new_id,
         told_at + tombstones AS position
    FROM chosen
), held AS (
  UPDATE bank.holds AS h SET transaction_id = n.new_id FROM named AS n
   WHERE h.transaction_id = n.old_id AND %(rekey)s
), moved AS (
  UPDATE bank.transactions AS t
     SET position = n.position, born = CASE WHEN %(rekey)s THEN n.position ELSE t.born END,
         transaction_id = CASE WHEN %(rekey)s THEN n.new_id ELSE t.transaction_id END,
         account_id = coalesce(%(new_account_id)s::text, t.account_id)
    FROM named AS n WHERE t.transaction_id = n.old_id
  RETURNING 1
)
SELECT ((SELECT count(*) FROM moved) + coalesce((SELECT max(tombstones) FROM chosen), 0))::integer AS changes;

-- name: transactions_park
-- First half of numbering: ids out of the way, since a unique index looks at each row as it is written.
WITH held AS (
  UPDATE bank.holds AS h SET transaction_id = 'parked:' || h.transaction_id
    FROM bank.transactions AS t WHERE t.transaction_id = h.transaction_id AND t.account_id = %(account_id)s
)
UPDATE bank.transactions SET transaction_id = 'parked:' || transaction_id WHERE account_id = %(account_id)s;

-- name: transactions_number
-- Second half: ids are places, and the newest row is the first. What was the first is now the second: the id stays, and
-- stands for another row. An id is born when it is first used.
WITH placed AS (
  SELECT t.transaction_id AS old_id, t.account_id || ':' || row_number() OVER newest_first AS new_id,
         l.head + row_number() OVER newest_first AS position
    FROM bank.transactions AS t, bank.ledger AS l WHERE t.account_id = %(account_id)s
  WINDOW newest_first AS (ORDER BY t.created_at DESC, t.amount_cents, t.description, t.transaction_id)
), held AS (
  UPDATE bank.holds AS h SET transaction_id = p.new_id FROM placed AS p WHERE h.transaction_id = p.old_id
), moved AS (
  UPDATE bank.transactions AS t
     SET transaction_id = p.new_id, position = p.position, born = coalesce(same.born, p.position)
    FROM placed AS p LEFT JOIN bank.transactions AS same ON same.transaction_id = 'parked:' || p.new_id
   WHERE t.transaction_id = p.old_id
  RETURNING 1
), untold AS (
  DELETE FROM bank.removals AS r USING placed AS p WHERE r.transaction_id = p.new_id
)
SELECT count(*)::integer AS changes FROM moved;

-- name: transaction_keep
-- Remember a row that is about to be removed.
INSERT INTO bank.removed_rows (transaction_id, content)
SELECT transaction_id, to_jsonb(t) FROM bank.transactions AS t WHERE transaction_id = %(transaction_id)s
ON CONFLICT (transaction_id) DO UPDATE SET content = excluded.content;

-- name: transactions_kept
-- Rows that can be put back.
SELECT transaction_id, content ->> 'account_id' AS account_id
  FROM bank.removed_rows
 WHERE (%(transaction_id)s::text IS NULL OR transaction_id = %(transaction_id)s)
   AND (%(account_id)s::text IS NULL OR content ->> 'account_id' = %(account_id)s)
   AND EXISTS (SELECT FROM bank.accounts AS a WHERE a.account_id = content ->> 'account_id')
   AND NOT EXISTS (SELECT FROM bank.transactions AS t WHERE t.transaction_id = removed_rows.transaction_id)
 ORDER BY transaction_id LIMIT 50;

-- name: transaction_undelete
-- Put a row back under its old id. Its tombstone goes, since nothing is both there and gone.
WITH kept AS (
  DELETE FROM bank.removed_rows WHERE transaction_id = %(transaction_id)s RETURNING content
), untold AS (
  DELETE FROM bank.removals WHERE transaction_id = %(transaction_id)s
)
INSERT INTO bank.transactions (
       position, born, transaction_id, account_id, amount_cents, currency, status, type, description,
       counterparty_name, counterparty_account_id, created_at, booked_on, pending_transaction_id, client_reference)
SELECT l.head + 1, l.head + 1, r.transaction_id, r.account_id, r.amount_cents, r.currency, r.status, r.type, r.description,
       r.counterparty_name, r.counterparty_account_id, r.created_at, r.booked_on, r.pending_transaction_id,
       r.client_reference
  FROM kept, bank.ledger AS l, jsonb_populate_record(NULL::bank.transactions, kept.content) AS r;

-- name: account_double
-- An account again under another id, empty. It takes the last place until the first one has gone.
INSERT INTO bank.accounts (account_id, ordinal, name, type, currency, status, available_told)
SELECT %(new_account_id)s, (SELECT max(ordinal) + 1 FROM bank.accounts), name, type, currency, status, available_told
  FROM bank.accounts WHERE account_id = %(account_id)s;

-- name: account_drop
-- The account whose transactions are all under another id now.
DELETE FROM bank.accounts WHERE account_id = %(account_id)s RETURNING ordinal;

-- name: account_place
-- The place that the account had under its old id.
UPDATE bank.accounts SET ordinal = %(ordinal)s WHERE account_id = %(account_id)s;

-- name: account_shut
-- Close an account and tell nothing more of it, or open it again.
UPDATE bank.accounts SET gone = %(gone)s, status = CASE WHEN %(gone)s THEN 'closed' ELSE 'open' END
 WHERE account_id = %(account_id)s;

-- name: accounts_changed
-- Accounts that are gone and can be opened again, or those whose balance is not told as it should be.
SELECT account_id FROM bank.accounts
 WHERE (%(account_id)s::text IS NULL OR account_id = %(account_id)s)
   AND CASE WHEN %(gone)s THEN gone ELSE balance_told <> 'told' OR balance_lag <> '0' END ORDER BY ordinal LIMIT 50;

-- name: account_tell_balance
-- How the balance of an account is told from now on.
UPDATE bank.accounts SET balance_told = %(told)s, balance_lag = make_interval(secs => %(lag_seconds)s)
 WHERE account_id = %(account_id)s;

-- name: log_since
-- What happened after a position of the log: how much, and the first of it.
SELECT count(*) FILTER (WHERE kind = 'added')::integer AS added_count,
       count(*) FILTER (WHERE kind = 'modified')::integer AS modified_count,
       count(*) FILTER (WHERE kind = 'removed')::integer AS removed_count,
       coalesce(array_agg(transaction_id ORDER BY position) FILTER (WHERE kind = 'added' AND place <= 100), '{}') AS added,
       coalesce(array_agg(transaction_id ORDER BY position) FILTER (WHERE kind = 'modified' AND place <= 100), '{}')
         AS modified,
       coalesce(array_agg(transaction_id ORDER BY position) FILTER (WHERE kind = 'removed' AND place <= 100), '{}')
         AS removed,
       coalesce(array_agg(DISTINCT account_id), '{}') AS account_ids
  FROM (SELECT transaction_id, account_id, position, kind, row_number() OVER (PARTITION BY kind ORDER BY position) AS place
          FROM (SELECT transaction_id, account_id, position,
                       CASE WHEN born > %(head)s::bigint THEN 'added' ELSE 'modified' END AS kind
                  FROM bank.transactions WHERE position > %(head)s
                UNION ALL
                SELECT transaction_id, account_id, position, 'removed' FROM bank.removals WHERE position > %(head)s) AS told
       ) AS ranked;
