-- Transactions as they are now; the columns are those of now.sql. How a page is sorted and what it leaves out is put in by
-- readapi/transactions.py, which exchanges what stands beside a comment like `/* key */`: each page is a statement of its own,
-- planned for what was asked. As they stand here, the queries sort newest first and leave nothing out.

-- name: transaction_get
-- One transaction as the bank shows it now (null when it shows it no more), and what we believed of it before.
WITH shown AS (
    SELECT entry.transaction_id, entry.account_id, entry.amount_minor, entry.amount::text, entry.currency, entry.status,
           entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id, entry.pending_transaction_id,
           entry.known_from,
           read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted
      FROM read.transactions AS entry
     WHERE entry.account_id = %(account_id)s AND entry.transaction_id = %(transaction_id)s),
believed AS (
    SELECT entry.amount_minor, entry.amount::text, entry.currency, entry.status, entry.type, entry.created_at, entry.booked_on,
           entry.known_from, entry.known_to, entry.ended_by, entry.successor_id,
           read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted
      FROM read.transaction_revisions AS entry
     WHERE entry.account_id = %(account_id)s AND entry.transaction_id = %(transaction_id)s
     ORDER BY entry.known_to DESC, entry.known_from DESC
     -- No bank corrects an entry so often, unless its ids mean nothing.
     LIMIT 100)
SELECT EXISTS (SELECT FROM shown) OR EXISTS (SELECT FROM believed) AS found,
       json_build_object(
           'current', (SELECT row_to_json(shown) FROM shown),
           'revisions', (SELECT coalesce(json_agg(believed), '[]') FROM believed)
       )::text AS data,
       NULL::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['transactions'], ARRAY[%(account_id)s::text]) AS fresh;

-- name: transactions_list
-- A page of an account's transactions, or of all accounts'. Exchanged are the sort key, its type, its direction, whose they
-- are, and the filters: one statement for all of them would be planned for filters that nobody set, and sort a big account to
-- answer a page.
WITH page AS (
    SELECT *
      FROM (SELECT entry.transaction_id, entry.account_id, entry.amount_minor, entry.amount::text, entry.currency, entry.status,
                   entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id,
                   entry.pending_transaction_id,
                   read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted,
                   entry.created_at /* key */ AS sort_key
              FROM read.transactions AS entry
             WHERE entry.account_id = %(account_id)s /* whose */
               AND (entry.created_at /* key */, entry.transaction_id, entry.account_id)
                   < /* beyond */ (%(after_key)s::timestamptz /* type */, %(after_id)s, %(after_account)s)
               /* filters */
             ORDER BY sort_key DESC /* way */, entry.transaction_id DESC /* way */, entry.account_id DESC /* way */
             -- The most that can be asked for, as a number; see activity_list.
             LIMIT 501) AS first
     LIMIT %(limit)s::int + 1)
SELECT %(account_id)s::text IS NULL OR EXISTS (SELECT FROM read.accounts WHERE account_id = %(account_id)s) AS found,
       (SELECT coalesce(json_agg(item), '[]')
          FROM (SELECT transaction_id, account_id, amount_minor, amount, currency, status, type, created_at, booked_on,
                       counterparty_account_id, pending_transaction_id, untrusted
                  FROM page LIMIT %(limit)s::int) AS item)::text AS data,
       CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
            THEN (SELECT json_build_array(sort_key, transaction_id, account_id)
                    FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['transactions'],
                      CASE WHEN %(account_id)s::text IS NOT NULL THEN ARRAY[%(account_id)s::text] END) AS fresh;

-- name: transactions_newest_list
-- A page of all accounts' transactions by the time they were made, off the index that begins with the account: the first row
-- of each account, and of the accounts whose first rows come first, those that are not beyond the last of these. So what is
-- read grows with the accounts and the page, and not with the transactions.
WITH heads AS (
    SELECT account.account_id, head.sort_key, head.transaction_id
      FROM read.accounts AS account
     CROSS JOIN LATERAL (
           SELECT entry.created_at AS sort_key, entry.transaction_id
             FROM read.transactions AS entry
            WHERE entry.account_id = account.account_id
              AND (entry.created_at, entry.transaction_id, entry.account_id)
                  < /* beyond */ (%(after_key)s::timestamptz, %(after_id)s, %(after_account)s)
              /* filters */
            ORDER BY entry.created_at DESC /* way */, entry.transaction_id DESC /* way */
            LIMIT 1) AS head
     ORDER BY head.sort_key DESC /* way */, head.transaction_id DESC /* way */, account.account_id DESC /* way */
     LIMIT %(limit)s::int + 1),
places AS (
    SELECT next.account_id, next.transaction_id, next.created_at
      FROM heads
     CROSS JOIN LATERAL (
           SELECT *
             FROM (SELECT entry.account_id, entry.transaction_id, entry.created_at
                     FROM read.transactions AS entry
                    WHERE entry.account_id = heads.account_id
                      AND (entry.created_at, entry.transaction_id, entry.account_id)
                          < /* beyond */ (%(after_key)s::timestamptz, %(after_id)s, %(after_account)s)
                      -- With a page full of first rows, nothing after the last of them is on the page.
                      AND entry.created_at >= /* within */ coalesce(
                          (SELECT sort_key FROM heads ORDER BY sort_key DESC /* way */ LIMIT 1 OFFSET %(limit)s::int),
                          '-infinity' /* all */)
                      /* filters */
                    ORDER BY entry.created_at DESC /* way */, entry.transaction_id DESC /* way */
                    -- The most that can be asked for, as a number; see activity_list.
                    LIMIT 501) AS first
            LIMIT %(limit)s::int + 1) AS next
     ORDER BY next.created_at DESC /* way */, next.transaction_id DESC /* way */, next.account_id DESC /* way */
     LIMIT %(limit)s::int + 1),
-- The text is looked through, and the rest of the row read, for what is shown alone.
page AS (
    SELECT entry.transaction_id, entry.account_id, entry.amount_minor, entry.amount::text, entry.currency, entry.status,
           entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id, entry.pending_transaction_id,
           read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted
      FROM places
     CROSS JOIN LATERAL (
           SELECT * FROM read.transactions AS whole
            WHERE whole.account_id = places.account_id AND whole.transaction_id = places.transaction_id) AS entry
     ORDER BY entry.created_at DESC /* way */, entry.transaction_id DESC /* way */, entry.account_id DESC /* way */)
SELECT true AS found,
       (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item)::text AS data,
       CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
            THEN (SELECT json_build_array(created_at, transaction_id, account_id)
                    FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['transactions']) AS fresh;
