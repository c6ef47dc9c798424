-- A mirror as ingest would have left it: accounts, their transactions, balances and totals, every feed fresh for a day.
-- Parameters: accounts (how many), per_account (transactions of each).

-- name: connection_insert
-- The bank that all of it is from, read by its delta feed.
INSERT INTO sync.connections (connection_id, bank, bank_id, base_url, capabilities)
VALUES ('default', 'generic', 'bench', 'http://127.0.0.1', '{"delta_feed": true}');

-- name: accounts_insert
-- Accounts acct_0000 and so on, which have been there for longer than any of their transactions.
INSERT INTO snapshot.accounts (account_id, connection_id, name, type, currency, status, first_seen_at)
SELECT format('acct_%%s', lpad(number::text, 4, '0')), 'default', format('Account %%s', number), 'checking', 'USD', 'open',
       now() - interval '366 days'
  FROM generate_series(0, %(accounts)s::int - 1) AS number;

-- name: transactions_insert
-- As they come in life: the accounts' rows lie between each other, one of each account after the other, over a year.
INSERT INTO snapshot.transactions
SELECT format('acct_%%s', lpad((number %% %(accounts)s::int)::text, 4, '0')),
       format('txn_%%s', lpad(number::text, 8, '0')),
       (hashint4(number::int) %% 250000) * 2 + 1,
       'USD',
       CASE WHEN made.is_pending THEN 'pending' ELSE 'posted' END,
       shop.kind, shop.description, shop.counterparty, NULL, NULL, NULL,
       made.created_at,
       CASE WHEN NOT made.is_pending THEN (made.created_at AT TIME ZONE 'UTC')::date END,
       decode(md5(number::text), 'hex'),
       made.created_at,
       1
  FROM generate_series(0, %(accounts)s::bigint * %(per_account)s::int - 1) AS number
 CROSS JOIN LATERAL (
       SELECT date_trunc('second', now()) - interval '365 days'
              + (number + 1) * interval '365 days' / (%(accounts)s::bigint * %(per_account)s::int) AS created_at,
              -- The two newest of each account are still pending.
              number >= %(accounts)s::bigint * (%(per_account)s::int - 2) AS is_pending) AS made
  JOIN (VALUES (0, 'card', 'SQ *BLUE DOOR COFFEE', 'Blue Door Coffee'),
               (1, 'card', 'NORTHGATE MARKET #118', 'Northgate Market'),
               (2, 'card', 'CAFÉ ZÜRICH HB', 'Café Zürich'),
               (3, 'ach', 'ACH GRANITE PEAK BUILDERS INV 20417', 'Granite Peak Builders'),
               (4, 'wire', 'WIRE EVERGREEN LOGISTICS REF 88120', 'Evergreen Logistics'),
               (5, 'interest', 'INTEREST PAYMENT', NULL)) AS shop (dice, kind, description, counterparty)
    ON shop.dice = abs(hashint4(number::int)) %% 6;

-- name: totals_insert
-- The daily totals that ingest keeps with the rows.
INSERT INTO snapshot.daily_totals
SELECT account_id, booked_on, currency, coalesce(sum(amount_minor) FILTER (WHERE amount_minor > 0), 0),
       coalesce(sum(amount_minor) FILTER (WHERE amount_minor < 0), 0), count(*)
  FROM snapshot.transactions WHERE status = 'posted'
 GROUP BY account_id, booked_on, currency;

-- name: balances_insert
-- A balance for each account, which is what its posted transactions add up to.
WITH stated AS (
    INSERT INTO snapshot.balances (account_id, currency, current_minor, available_minor, as_of, run_id)
    SELECT account.account_id, account.currency,
           coalesce((SELECT sum(in_minor + out_minor) FROM snapshot.daily_totals AS total
                      WHERE total.account_id = account.account_id), 0),
           NULL, now(), 1
      FROM snapshot.accounts AS account
    RETURNING *)
INSERT INTO snapshot.balance_snapshots (account_id, currency, current_minor, available_minor, as_of, run_id)
SELECT account_id, currency, current_minor, available_minor, as_of, run_id FROM stated;

-- name: transfers_insert
-- Every tenth account has a transfer under way that its bank does not show yet.
INSERT INTO transfer.transfers (
    transfer_id, principal, fingerprint, source_account_id, destination_account_id, amount_minor, currency, bank_id,
    bank_key, request_bytes, request_sha256, state, bank_transaction_id, attempts, first_sent_at)
SELECT gen_random_uuid(), 'bench', '', account_id, 'acct_elsewhere', 125000, 'USD', 'bench',
       'key_' || account_id, '', '', 'accepted', 'sent_' || account_id, 1, now()
  FROM snapshot.accounts WHERE account_id LIKE '%%0';

-- name: targets_insert
-- Three feeds of the whole connection, read a moment ago. The interval is of a day, so that verdicts stay fresh.
INSERT INTO sync.targets (
    connection_id, feed, cursor, complete, interval_seconds, due_at, synced_at, bank_as_of, fresh_until)
SELECT 'default', feed, 'c0', true, 86400, now() + interval '1 day', now(), now(), now() + interval '2 days'
  FROM unnest(ARRAY['accounts', 'balances', 'transactions']) AS feed;

-- name: run_insert
-- The run that wrote all of it, finished.
INSERT INTO sync.runs (connection_id, account_id, feed, lease_epoch, finished_at, outcome, txid)
VALUES ('default', '', 'transactions', 1, now(), 'complete', pg_current_xact_id());

-- name: view_refresh
-- The materialized views.
SELECT read.refresh();
