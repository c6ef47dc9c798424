-- Whole lists, to leave as files. For each there are two queries: its rows with typed columns, which are those of a CSV and
-- of a Parquet file; and the JSON of a row, which is that of the list as it is answered page by page. readapi/exports.py puts
-- the one into the other, in the place of what stands before `/* rows */`. Without a limit there are all rows.

-- name: accounts_export
-- Accounts by id, with the balance in their own currency.
SELECT listed.account_id, listed.name, listed.type, listed.currency, listed.status, listed.first_seen_at, listed.last_seen_at,
       balance.current_minor, balance.current, balance.available_minor, balance.available, balance.as_of, balance.synced_at
  FROM read.accounts AS listed
  LEFT JOIN read.balances AS balance ON balance.account_id = listed.account_id AND balance.currency = listed.currency
 WHERE (%(status)s::text IS NULL OR listed.status = %(status)s)
   AND (%(currency)s::text IS NULL OR listed.currency = %(currency)s)
 ORDER BY listed.account_id
 LIMIT %(limit)s::bigint;

-- name: accounts_lines
-- An account as in accounts_list.
SELECT row_to_json(item)
  FROM (SELECT entry.account_id, entry.name, entry.type, entry.currency, entry.status, entry.first_seen_at,
               entry.last_seen_at, row_to_json(shown) AS balance
          FROM (SELECT *, NULL::bigint AS current_minor, NULL::numeric AS current, NULL::bigint AS available_minor,
                       NULL::numeric AS available, NULL::timestamptz AS as_of, NULL::timestamptz AS synced_at
                  FROM read.accounts) /* rows */ AS entry
          LEFT JOIN LATERAL (
               SELECT entry.currency, entry.current_minor, entry.current::text, entry.available_minor, entry.available::text,
                      entry.as_of, entry.synced_at
                WHERE entry.current_minor IS NOT NULL) AS shown ON true) AS item;

-- name: balances_export
-- The latest balance of every account, by account and currency.
SELECT balance.account_id, balance.currency, balance.current_minor, balance.current, balance.available_minor,
       balance.available, balance.as_of, balance.synced_at
  FROM read.balances AS balance
 WHERE %(currency)s::text IS NULL OR balance.currency = %(currency)s
 ORDER BY balance.account_id, balance.currency
 LIMIT %(limit)s::bigint;

-- name: balances_lines
-- A balance as in balances_list.
SELECT row_to_json(item)
  FROM (SELECT entry.account_id, entry.currency, entry.current_minor, entry.current::text, entry.available_minor,
               entry.available::text, entry.as_of, entry.synced_at
          FROM (SELECT * FROM read.balances) /* rows */ AS entry) AS item;

-- name: cash_flow_export
-- Posted money in and out by account, currency and period.
SELECT grouped.account_id, grouped.currency, grouped.period_start,
       grouped.in_minor, grouped.in_minor * money.unit AS "in",
       grouped.out_minor, grouped.out_minor * money.unit AS out,
       grouped.in_minor + grouped.out_minor AS net_minor, (grouped.in_minor + grouped.out_minor) * money.unit AS net,
       grouped.entries
  FROM (SELECT flow.account_id, flow.currency, date_trunc(%(group)s, flow.booked_on::timestamp)::date AS period_start,
               sum(flow.in_minor) AS in_minor, sum(flow.out_minor) AS out_minor, sum(flow.entries) AS entries
          FROM read.daily_cash_flow AS flow
         WHERE flow.booked_on BETWEEN %(first)s::date AND %(last)s::date
           AND (%(account_id)s::text IS NULL OR flow.account_id = %(account_id)s)
           AND (%(currency)s::text IS NULL OR flow.currency = %(currency)s)
         GROUP BY flow.account_id, flow.currency, period_start) AS grouped
  JOIN read.currencies AS money USING (currency)
 ORDER BY grouped.account_id, grouped.currency, grouped.period_start
 LIMIT %(limit)s::bigint;

-- name: cash_flow_lines
-- A period as in cash_flow_list.
SELECT row_to_json(item)
  FROM (SELECT entry.account_id, entry.currency, entry.period_start, entry.in_minor, entry."in"::text, entry.out_minor,
               entry.out::text, entry.net_minor, entry.net::text, entry.entries
          FROM (SELECT *, booked_on AS period_start FROM read.daily_cash_flow) /* rows */ AS entry) AS item;

-- name: transactions_export
-- Transactions, as they are now; completed as transactions_list is.
SELECT entry.account_id, entry.transaction_id, entry.amount_minor, entry.amount, entry.currency, entry.status, entry.type,
       entry.created_at, entry.booked_on, entry.counterparty_account_id, entry.pending_transaction_id, entry.description,
       entry.counterparty_name, entry.warnings
  FROM read.transactions AS entry
 WHERE entry.account_id = %(account_id)s /* whose */
   /* filters */
 ORDER BY entry.created_at /* key */ DESC /* way */, entry.transaction_id DESC /* way */, entry.account_id DESC /* way */
 LIMIT %(limit)s::bigint;

-- name: transactions_first_export
-- The same when a limit is given. Keys are sorted, and the rows of the first ones looked up: to make texts fit to be shown
-- takes longest, and only theirs are.
SELECT shown.*
  FROM (SELECT entry.account_id, entry.transaction_id
          FROM read.transactions AS entry
         WHERE entry.account_id = %(account_id)s /* whose */
           /* filters */
         ORDER BY entry.created_at /* key */ DESC /* way */, entry.transaction_id DESC /* way */,
                  entry.account_id DESC /* way */
         LIMIT %(limit)s::bigint) AS sorted
 CROSS JOIN LATERAL (
       SELECT entry.account_id, entry.transaction_id, entry.amount_minor, entry.amount, entry.currency, entry.status,
              entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id, entry.pending_transaction_id,
              entry.description, entry.counterparty_name, entry.warnings
         FROM read.transactions AS entry
        WHERE entry.account_id = sorted.account_id AND entry.transaction_id = sorted.transaction_id
        -- There is one. Said so, it is not joined some other way that would lose the order.
        LIMIT 1) AS shown;

-- name: transactions_known_export
-- Transactions as they were known at a moment, which is closed; completed as transactions_list is.
SELECT entry.account_id, entry.transaction_id, entry.amount_minor, entry.amount, entry.currency, entry.status, entry.type,
       entry.created_at, entry.booked_on, entry.counterparty_account_id, entry.pending_transaction_id, entry.description,
       entry.counterparty_name, entry.warnings
  FROM (SELECT account_id, transaction_id, amount_minor, amount, currency, status, type, created_at, booked_on, day,
               counterparty_account_id, pending_transaction_id, description, counterparty_name, warnings
          FROM read.transactions
         WHERE known_from <= %(known_at)s::timestamptz
         UNION ALL
        SELECT account_id, transaction_id, amount_minor, amount, currency, status, type, created_at, booked_on, day,
               counterparty_account_id, pending_transaction_id, description, counterparty_name, warnings
          FROM read.transaction_past
         WHERE known_to > %(known_at)s::timestamptz AND known_from <= %(known_at)s::timestamptz) AS entry
 WHERE entry.account_id = %(account_id)s /* whose */
   /* filters */
 ORDER BY entry.created_at /* key */ DESC /* way */, entry.transaction_id DESC /* way */, entry.account_id DESC /* way */
 LIMIT %(limit)s::bigint;

-- name: transactions_lines
-- A transaction as in transactions_list.
SELECT row_to_json(item)
  FROM (SELECT entry.transaction_id, entry.account_id, entry.amount_minor, entry.amount::text, entry.currency, entry.status,
               entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id, entry.pending_transaction_id,
               read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted
          FROM (SELECT * FROM read.transactions) /* rows */ AS entry) AS item;
