-- Answers as of a moment: known_at is what we believed then, as_of is what was true at the bank then; both may be given.
--
-- To the columns of now.sql these put two in front:
--   closed_until   up to when what was known cannot change any more; null where known_at was not asked for
--   state          'closed': here is the answer; 'open': something may still be stored that counts as known then, so that
--                  nothing is answered yet; 'future': known_at has not come
--
-- What depends on the moment of asking (ages, synced_at, last_seen_at) is not in an answer as known at a moment: its bytes
-- are the same for ever.

-- name: transactions_known_list
-- A page of an account's transactions, or of all accounts', as they were known at a moment. Three parts, each off an index
-- while the page is sorted by created_at: the versions of today that were known then; those of them that the bank dates after
-- we learned of them, which hardly any bank does; and the versions that ended since. Exchanged as in transactions_list.
WITH page AS (
    SELECT *
      FROM (SELECT *
              FROM (SELECT entry.transaction_id, entry.account_id, entry.amount_minor, entry.amount::text, entry.currency,
                           entry.status, entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id,
                           entry.pending_transaction_id,
                           read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted,
                           entry.created_at /* key */ AS sort_key
                      FROM read.transactions AS entry
                     WHERE entry.account_id = %(account_id)s /* whose */
                       AND entry.known_from <= %(known_at)s::timestamptz
                       AND entry.created_at <= %(known_at)s::timestamptz
                       AND (entry.created_at /* key */, entry.transaction_id, entry.account_id)
                           < /* beyond */ (%(after_key)s::timestamptz /* type */, %(after_id)s, %(after_account)s)
                       /* filters */
                     ORDER BY sort_key DESC /* way */, entry.transaction_id DESC /* way */, entry.account_id DESC /* way */
                     -- The most that can be asked for, as a number; see activity_list.
                     LIMIT 501) AS still_shown
             UNION ALL
            SELECT *
              FROM (SELECT entry.transaction_id, entry.account_id, entry.amount_minor, entry.amount::text, entry.currency,
                           entry.status, entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id,
                           entry.pending_transaction_id,
                           read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted,
                           entry.created_at /* key */ AS sort_key
                      FROM read.transactions AS entry
                     WHERE entry.account_id = %(account_id)s /* whose */
                       AND entry.known_from <= %(known_at)s::timestamptz
                       AND entry.created_at > %(known_at)s::timestamptz
                       AND entry.created_at > entry.known_from
                       AND (entry.created_at /* key */, entry.transaction_id, entry.account_id)
                           < /* beyond */ (%(after_key)s::timestamptz /* type */, %(after_id)s, %(after_account)s)
                       /* filters */
                     ORDER BY sort_key DESC /* way */, entry.transaction_id DESC /* way */, entry.account_id DESC /* way */
                     LIMIT 501) AS dated_ahead
             UNION ALL
            SELECT *
              FROM (SELECT entry.transaction_id, entry.account_id, entry.amount_minor, entry.amount::text, entry.currency,
                           entry.status, entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id,
                           entry.pending_transaction_id,
                           read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted,
                           entry.created_at /* key */ AS sort_key
                      FROM read.transaction_past AS entry
                     WHERE entry.account_id = %(account_id)s /* whose */
                       AND entry.known_to > %(known_at)s::timestamptz
                       AND entry.known_from <= %(known_at)s::timestamptz
                       AND (entry.created_at /* key */, entry.transaction_id, entry.account_id)
                           < /* beyond */ (%(after_key)s::timestamptz /* type */, %(after_id)s, %(after_account)s)
                       /* filters */
                     ORDER BY sort_key DESC /* way */, entry.transaction_id DESC /* way */, entry.account_id DESC /* way */
                     LIMIT 501) AS ended_since) AS believed
     ORDER BY believed.sort_key DESC /* way */, believed.transaction_id DESC /* way */, believed.account_id DESC /* way */
     LIMIT %(limit)s::int + 1),
asked AS (
    SELECT read.closed_until(%(account_id)s::text) AS closed_until)
SELECT to_json(asked.closed_until) #>> '{}' AS closed_until,
       CASE WHEN %(known_at)s::timestamptz > now() THEN 'future'
            WHEN %(known_at)s::timestamptz < asked.closed_until THEN 'closed'
            ELSE 'open' END AS state,
       %(account_id)s::text IS NULL
           OR EXISTS (SELECT FROM read.accounts
                       WHERE account_id = %(account_id)s AND first_seen_at <= %(known_at)s::timestamptz) AS found,
       CASE WHEN %(known_at)s::timestamptz < asked.closed_until
            THEN (SELECT coalesce(json_agg(item), '[]')
                    FROM (SELECT transaction_id, account_id, amount_minor, amount, currency, status, type, created_at, booked_on,
                                 counterparty_account_id, pending_transaction_id, untrusted
                            FROM page LIMIT %(limit)s::int) AS item)
       END::text AS data,
       CASE WHEN %(known_at)s::timestamptz < asked.closed_until
            THEN CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
                      THEN (SELECT json_build_array(sort_key, transaction_id, account_id)
                              FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END END::text AS next,
       CASE WHEN %(known_at)s::timestamptz < asked.closed_until
            THEN (SELECT row_to_json(fresh)
                    FROM read.freshness_at(ARRAY['transactions'], %(known_at)s::timestamptz,
                        CASE WHEN %(account_id)s::text IS NOT NULL THEN ARRAY[%(account_id)s::text] END) AS fresh)
       END::text AS freshness,
       NULL::int AS age_seconds,
       NULL::int AS fresh_seconds
  FROM asked;

-- name: balances_at_list
-- The balance of every account at a moment, by account and currency: the newest that we knew by known_at, and that the bank
-- stated for a time by as_of; either may be null.
WITH page AS (
    SELECT held.account_id, held.currency, stated.current_minor, stated.current, stated.available_minor, stated.available,
           stated.as_of, NULL::timestamptz AS synced_at
      FROM read.balances AS held
     CROSS JOIN LATERAL (
           SELECT balance.current_minor, balance.current::text, balance.available_minor, balance.available::text,
                  balance.as_of
             FROM read.balance_history AS balance
            WHERE balance.account_id = held.account_id AND balance.currency = held.currency
              AND balance.as_of <= coalesce(%(as_of)s::timestamptz, 'infinity')
              AND balance.known_from <= coalesce(%(known_at)s::timestamptz, 'infinity')
            ORDER BY balance.as_of DESC, balance.known_from DESC
            LIMIT 1) AS stated
     WHERE (held.account_id, held.currency) > (%(after_id)s, %(after_currency)s)
       AND (%(currency)s::text IS NULL OR held.currency = %(currency)s)
     ORDER BY held.account_id, held.currency
     LIMIT %(limit)s::int + 1),
asked AS (
    SELECT closed.until AS closed_until,
           CASE WHEN %(known_at)s::timestamptz IS NULL OR %(known_at)s::timestamptz < closed.until THEN 'closed'
                WHEN %(known_at)s::timestamptz > now() THEN 'future'
                ELSE 'open' END AS state
      FROM (SELECT CASE WHEN %(known_at)s::timestamptz IS NOT NULL THEN read.closed_until() END AS until) AS closed)
SELECT to_json(asked.closed_until) #>> '{}' AS closed_until,
       asked.state,
       true AS found,
       CASE WHEN asked.state = 'closed'
            THEN (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item)
       END::text AS data,
       CASE WHEN asked.state = 'closed'
            THEN CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
                      THEN (SELECT json_build_array(account_id, currency)
                              FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END END::text AS next,
       CASE WHEN asked.state <> 'closed' THEN NULL
            WHEN %(known_at)s::timestamptz IS NULL THEN row_to_json(fresh)
            ELSE (SELECT row_to_json(then_fresh)
                    FROM read.freshness_at(ARRAY['balances'], %(known_at)s::timestamptz) AS then_fresh) END::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM asked
  -- Not of any feed, and so not asked for, when the answer is one of a known moment.
  LEFT JOIN LATERAL (SELECT * FROM read.freshness(ARRAY['balances']) WHERE %(known_at)s::timestamptz IS NULL) AS fresh ON true;

-- name: balance_history_at_list
-- The balances of one account at a moment, and a page of those before, newest first; the moment as in balances_at_list.
WITH stated AS (
    SELECT balance.currency, balance.current_minor, balance.current::text, balance.available_minor, balance.available::text,
           balance.as_of, balance.known_from
      FROM read.balance_history AS balance
     WHERE balance.account_id = %(account_id)s
       AND balance.as_of <= coalesce(%(as_of)s::timestamptz, 'infinity')
       AND balance.known_from <= coalesce(%(known_at)s::timestamptz, 'infinity')),
page AS (
    SELECT stated.*, NULL::timestamptz AS last_seen_at
      FROM stated
     WHERE (stated.known_from, stated.currency) < (%(before_at)s::timestamptz, %(before_currency)s)
     ORDER BY stated.known_from DESC, stated.currency DESC
     LIMIT %(limit)s::int + 1),
asked AS (
    SELECT closed.until AS closed_until,
           CASE WHEN %(known_at)s::timestamptz IS NULL OR %(known_at)s::timestamptz < closed.until THEN 'closed'
                WHEN %(known_at)s::timestamptz > now() THEN 'future'
                ELSE 'open' END AS state
      FROM (SELECT CASE WHEN %(known_at)s::timestamptz IS NOT NULL
                        THEN read.closed_until(%(account_id)s) END AS until) AS closed)
SELECT to_json(asked.closed_until) #>> '{}' AS closed_until,
       asked.state,
       EXISTS (SELECT FROM read.accounts
                WHERE account_id = %(account_id)s
                  AND first_seen_at <= coalesce(%(known_at)s::timestamptz, 'infinity')) AS found,
       CASE WHEN asked.state = 'closed'
            THEN json_build_object(
                'account_id', %(account_id)s::text,
                'current', (SELECT coalesce(json_agg(item), '[]')
                              FROM (SELECT DISTINCT ON (currency) currency, current_minor, current, available_minor, available,
                                           as_of, NULL::timestamptz AS synced_at
                                      FROM stated
                                     ORDER BY currency, as_of DESC, known_from DESC) AS item),
                'history', (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item))
       END::text AS data,
       CASE WHEN asked.state = 'closed'
            THEN CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
                      THEN (SELECT json_build_array(known_from, currency)
                              FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END END::text AS next,
       CASE WHEN asked.state <> 'closed' THEN NULL
            WHEN %(known_at)s::timestamptz IS NULL THEN row_to_json(fresh)
            ELSE (SELECT row_to_json(then_fresh)
                    FROM read.freshness_at(ARRAY['balances'], %(known_at)s::timestamptz,
                                           ARRAY[%(account_id)s::text]) AS then_fresh) END::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM asked
  LEFT JOIN LATERAL (SELECT * FROM read.freshness(ARRAY['balances'], ARRAY[%(account_id)s::text])
                      WHERE %(known_at)s::timestamptz IS NULL) AS fresh ON true;

-- name: cash_flow_known_list
-- Posted money in and out by account, currency and period, as it was known at a moment; computed, not read from a view.
WITH chosen AS (
    SELECT ARRAY(SELECT account_id FROM read.accounts
                  WHERE %(account_id)s::text IS NULL OR account_id = %(account_id)s) AS ids),
page AS (
    SELECT grouped.account_id, grouped.currency, grouped.period_start,
           grouped.in_minor, (grouped.in_minor * money.unit)::text AS "in",
           grouped.out_minor, (grouped.out_minor * money.unit)::text AS out,
           grouped.in_minor + grouped.out_minor AS net_minor,
           ((grouped.in_minor + grouped.out_minor) * money.unit)::text AS net,
           grouped.entries
      FROM (SELECT total.account_id, total.currency,
                   date_trunc(%(group)s, total.booked_on::timestamp)::date AS period_start,
                   sum(total.in_minor) AS in_minor, sum(total.out_minor) AS out_minor, sum(total.entries) AS entries
              FROM read.totals_at(%(known_at)s::timestamptz, (SELECT ids FROM chosen),
                                  %(first)s::date, %(last)s::date) AS total
             WHERE %(currency)s::text IS NULL OR total.currency = %(currency)s
             GROUP BY total.account_id, total.currency, period_start) AS grouped
      JOIN read.currencies AS money USING (currency)
     WHERE (grouped.account_id, grouped.currency, grouped.period_start)
           > (%(after_id)s, %(after_currency)s, %(after_start)s::date)
     ORDER BY grouped.account_id, grouped.currency, grouped.period_start
     LIMIT %(limit)s::int + 1),
asked AS (
    SELECT read.closed_until(%(account_id)s) AS closed_until)
SELECT to_json(asked.closed_until) #>> '{}' AS closed_until,
       CASE WHEN %(known_at)s::timestamptz > now() THEN 'future'
            WHEN %(known_at)s::timestamptz < asked.closed_until THEN 'closed'
            ELSE 'open' END AS state,
       %(account_id)s::text IS NULL
           OR EXISTS (SELECT FROM read.accounts
                       WHERE account_id = %(account_id)s AND first_seen_at <= %(known_at)s::timestamptz) AS found,
       CASE WHEN %(known_at)s::timestamptz < asked.closed_until
            THEN json_build_object(
                'view', NULL,
                'periods', (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item))
       END::text AS data,
       CASE WHEN %(known_at)s::timestamptz < asked.closed_until
            THEN CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
                      THEN (SELECT json_build_array(account_id, currency, period_start)
                              FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END END::text AS next,
       CASE WHEN %(known_at)s::timestamptz < asked.closed_until
            THEN (SELECT row_to_json(fresh)
                    FROM read.freshness_at(ARRAY['transactions'], %(known_at)s::timestamptz,
                        CASE WHEN %(account_id)s::text IS NOT NULL THEN ARRAY[%(account_id)s::text] END) AS fresh)
       END::text AS freshness,
       NULL::int AS age_seconds,
       NULL::int AS fresh_seconds
  FROM asked;

-- name: moment_latest
-- The newest moment at which what was known of an account (null: of all) is settled.
SELECT read.closed_until(%(account_id)s::text) - interval '1 us' AS at;
