-- Each query is one endpoint's whole answer in one round trip, as one row:
--   found          false: there is no such account or transaction
--   data           the finished JSON of "data"
--   next           the keys that the next page starts after, as a JSON array; null on the last page
--   freshness      the finished JSON of "freshness"
--   age_seconds    since the data was confirmed with the bank; null when it never was
--   fresh_seconds  until the data counts as stale; null when it never was confirmed
--
-- Parameters arrive as text, and their casts are here: so a query is one prepared statement, whatever is asked. Pages are
-- read one row longer than they are shown, and the extra row tells whether there is a next page.
--
-- Amounts in major units leave as text: a JSON number would be a float to most who read it.

-- name: account_get
-- One account with the balance in its own currency.
SELECT account.account_id IS NOT NULL AS found,
       row_to_json(account)::text AS data,
       NULL::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['accounts', 'balances'], ARRAY[%(account_id)s::text]) AS fresh
  LEFT JOIN LATERAL (
       SELECT listed.account_id, listed.name, listed.type, listed.currency, listed.status,
              listed.first_seen_at, listed.last_seen_at, row_to_json(shown) AS balance
         FROM read.accounts AS listed
         LEFT JOIN LATERAL (
              SELECT balance.currency, balance.current_minor, balance.current::text, balance.available_minor,
                     balance.available::text, balance.as_of, balance.synced_at
                FROM read.balances AS balance
               WHERE balance.account_id = listed.account_id AND balance.currency = listed.currency) AS shown ON true
        WHERE listed.account_id = %(account_id)s) AS account ON true;

-- name: accounts_list
-- Accounts by id, each with the balance in its own currency.
WITH page AS (
    SELECT listed.account_id, listed.name, listed.type, listed.currency, listed.status,
           listed.first_seen_at, listed.last_seen_at, row_to_json(shown) AS balance
      FROM read.accounts AS listed
      LEFT JOIN LATERAL (
           SELECT balance.currency, balance.current_minor, balance.current::text, balance.available_minor,
                  balance.available::text, balance.as_of, balance.synced_at
             FROM read.balances AS balance
            WHERE balance.account_id = listed.account_id AND balance.currency = listed.currency) AS shown ON true
     WHERE listed.account_id > %(after_id)s
       AND (%(status)s::text IS NULL OR listed.status = %(status)s)
       AND (%(currency)s::text IS NULL OR listed.currency = %(currency)s)
     ORDER BY listed.account_id
     LIMIT %(limit)s::int + 1)
SELECT true AS found,
       (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item)::text AS data,
       CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
            THEN (SELECT json_build_array(account_id) FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['accounts', 'balances']) AS fresh;

-- name: activity_list
-- The newest of an account: what the bank shows, together with transfers that it does not show yet.
SELECT EXISTS (SELECT FROM read.accounts WHERE account_id = %(account_id)s) AS found,
       (SELECT coalesce(json_agg(item), '[]')
          FROM (SELECT *
                  FROM (SELECT *
                          FROM (SELECT entry.transaction_id AS id, 'transaction' AS kind, entry.type AS action,
                                       entry.amount_minor AS amount_cents, entry.amount_minor, entry.amount::text,
                                       entry.currency, entry.status, true AS outcome_certain, entry.created_at,
                                       entry.booked_on,
                                       read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted
                                  FROM read.transactions AS entry
                                 WHERE entry.account_id = %(account_id)s
                                 ORDER BY entry.created_at DESC, entry.transaction_id DESC
                                 -- The most that can be asked for, as a number: with a parameter the planner would
                                 -- expect a tenth of the account, and sort that instead of walking the index.
                                 LIMIT 500) AS newest
                         LIMIT %(limit)s::int) AS mirrored
                 UNION ALL
                SELECT *
                  FROM (SELECT transfer.transfer_id::text, 'transfer', 'transfer',
                               -transfer.amount_minor, -transfer.amount_minor, (-transfer.amount)::text, transfer.currency,
                               CASE transfer.state
                                   WHEN 'pending_approval' THEN 'pending_approval'
                                   WHEN 'accepted' THEN 'completed'
                                   ELSE 'processing' END,
                               transfer.outcome_certain, transfer.created_at, NULL::date,
                               read.untrusted(NULL, NULL, '{}')
                          FROM read.transfers_under_way AS transfer
                         WHERE transfer.source_account_id = %(account_id)s
                         ORDER BY transfer.created_at DESC, transfer.transfer_id DESC
                         LIMIT %(limit)s::int) AS under_way
                 ORDER BY created_at DESC, id DESC
                 LIMIT %(limit)s::int) AS item)::text AS data,
       NULL::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['transactions'], ARRAY[%(account_id)s::text]) AS fresh;

-- name: balance_history_list
-- The balances of one account now, and a page of those before, newest first.
WITH page AS (
    SELECT balance.currency, balance.current_minor, balance.current::text, balance.available_minor, balance.available::text,
           balance.as_of, balance.known_from, balance.last_seen_at
      FROM read.balance_history AS balance
     WHERE balance.account_id = %(account_id)s
       AND (balance.known_from, balance.currency) < (%(before_at)s::timestamptz, %(before_currency)s)
     ORDER BY balance.known_from DESC, balance.currency DESC
     LIMIT %(limit)s::int + 1)
SELECT EXISTS (SELECT FROM read.accounts WHERE account_id = %(account_id)s) AS found,
       json_build_object(
           'account_id', %(account_id)s::text,
           'current', (SELECT coalesce(json_agg(item), '[]')
                         FROM (SELECT balance.currency, balance.current_minor, balance.current::text, balance.available_minor,
                                      balance.available::text, balance.as_of, balance.synced_at
                                 FROM read.balances AS balance
                                WHERE balance.account_id = %(account_id)s
                                ORDER BY balance.currency) AS item),
           'history', (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item)
       )::text AS data,
       CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
            THEN (SELECT json_build_array(known_from, currency) FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['balances'], ARRAY[%(account_id)s::text]) AS fresh;

-- name: balances_list
-- The latest balance of every account, by account and currency.
WITH page AS (
    SELECT balance.account_id, balance.currency, balance.current_minor, balance.current::text, balance.available_minor,
           balance.available::text, balance.as_of, balance.synced_at
      FROM read.balances AS balance
     WHERE (balance.account_id, balance.currency) > (%(after_id)s, %(after_currency)s)
       AND (%(currency)s::text IS NULL OR balance.currency = %(currency)s)
     ORDER BY balance.account_id, balance.currency
     LIMIT %(limit)s::int + 1)
SELECT true AS found,
       (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item)::text AS data,
       CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
            THEN (SELECT json_build_array(account_id, currency) FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['balances']) AS fresh;

-- name: cash_flow_list
-- Posted money in and out by account, currency and period. The verdict is the worse one of the feed's and the view's.
WITH page AS (
    SELECT grouped.account_id, grouped.currency, grouped.period_start,
           grouped.in_minor, (grouped.in_minor * money.unit)::text AS "in",
           grouped.out_minor, (grouped.out_minor * money.unit)::text AS out,
           grouped.in_minor + grouped.out_minor AS net_minor,
           ((grouped.in_minor + grouped.out_minor) * money.unit)::text AS net,
           grouped.entries
      FROM (SELECT flow.account_id, flow.currency,
                   date_trunc(%(group)s, flow.booked_on::timestamp)::date AS period_start,
                   sum(flow.in_minor) AS in_minor, sum(flow.out_minor) AS out_minor, sum(flow.entries) AS entries
              FROM read.daily_cash_flow AS flow
             WHERE flow.booked_on BETWEEN %(first)s::date AND %(last)s::date
               AND (%(account_id)s::text IS NULL OR flow.account_id = %(account_id)s)
               AND (%(currency)s::text IS NULL OR flow.currency = %(currency)s)
             GROUP BY flow.account_id, flow.currency, period_start) AS grouped
      JOIN read.currencies AS money USING (currency)
     WHERE (grouped.account_id, grouped.currency, grouped.period_start)
           > (%(after_id)s, %(after_currency)s, %(after_start)s::date)
     ORDER BY grouped.account_id, grouped.currency, grouped.period_start
     LIMIT %(limit)s::int + 1),
behind AS (
    SELECT view.view_name AS name, view.refreshed_at, view.changes_waiting_since,
           -- A refresh follows a change within seconds; one that waits for a minute has failed or hangs.
           view.changes_waiting_since + interval '60 seconds' AS stale_at
      FROM read.view_freshness AS view
     WHERE view.view_name = 'daily_cash_flow'),
judged AS (
    SELECT feed.*, behind.*,
           (CASE WHEN behind.refreshed_at IS NULL THEN 'unknown'
                 WHEN behind.stale_at < now() THEN 'stale'
                 ELSE 'fresh' END)::read.verdict AS view_verdict
      FROM behind
     CROSS JOIN read.freshness(ARRAY['transactions'],
                               CASE WHEN %(account_id)s::text IS NOT NULL THEN ARRAY[%(account_id)s::text] END) AS feed),
fresh AS (
    SELECT greatest(verdict, view_verdict) AS verdict,
           -- What the view holds is what had been synced when the oldest change that it lacks came.
           CASE WHEN refreshed_at IS NOT NULL AND synced_at IS NOT NULL
                THEN least(synced_at, changes_waiting_since) END AS synced_at,
           as_of,
           CASE WHEN refreshed_at IS NOT NULL AND fresh_until IS NOT NULL
                THEN least(fresh_until, stale_at) END AS fresh_until,
           CASE WHEN verdict >= view_verdict THEN reason
                WHEN refreshed_at IS NULL THEN 'view daily_cash_flow: not filled yet'
                ELSE format('view daily_cash_flow: changes have waited for a refresh since %%s',
                            to_char(changes_waiting_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) END AS reason,
           CASE WHEN verdict >= view_verdict THEN remedy
                WHEN refreshed_at IS NULL THEN 'wait for the first refresh; bankmirror status shows its progress'
                ELSE 'treat totals as of synced_at; bankmirror doctor names what is wrong' END AS remedy
      FROM judged)
SELECT %(account_id)s::text IS NULL
           OR EXISTS (SELECT FROM read.accounts WHERE account_id = %(account_id)s) AS found,
       json_build_object(
           'view', (SELECT row_to_json(shown) FROM (SELECT name, refreshed_at, changes_waiting_since FROM behind) AS shown),
           'periods', (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item)
       )::text AS data,
       CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
            THEN (SELECT json_build_array(account_id, currency, period_start)
                    FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM fresh;

-- name: feeds_count
-- How many feeds of accounts have which verdict, and the age of the oldest in seconds; for /ready and /metrics.
SELECT feed, verdict::text, count(*), max(extract(epoch FROM now() - synced_at))::float8
  FROM read.feeds
 GROUP BY feed, verdict
 ORDER BY feed, verdict;

-- name: feeds_list
-- How the mirror is kept: every feed of every account with its verdict, and the views that are refreshed from them.
WITH page AS (
    SELECT feed.account_id, feed.feed, feed.verdict, feed.synced_at, feed.as_of, feed.fresh_until, feed.complete,
           feed.entries_refused, feed.reason, feed.remedy
      FROM read.feeds AS feed
     WHERE (feed.account_id, feed.feed) > (%(after_id)s, %(after_feed)s)
       AND (%(account_id)s::text IS NULL OR feed.account_id = %(account_id)s)
       AND (%(feed)s::text IS NULL OR feed.feed = %(feed)s)
       AND (%(verdict)s::text IS NULL OR feed.verdict::text = %(verdict)s)
     ORDER BY feed.account_id, feed.feed
     LIMIT %(limit)s::int + 1)
SELECT %(account_id)s::text IS NULL
           OR EXISTS (SELECT FROM read.accounts WHERE account_id = %(account_id)s) AS found,
       json_build_object(
           'verdicts', (SELECT json_object_agg(verdict, entries ORDER BY verdict)
                          FROM (SELECT listed.verdict, count(feed.verdict) AS entries
                                  FROM unnest(enum_range(NULL::read.verdict)) AS listed (verdict)
                                  LEFT JOIN read.feeds AS feed ON feed.verdict = listed.verdict
                                 GROUP BY listed.verdict) AS counted),
           'views', (SELECT coalesce(json_agg(shown), '[]')
                       FROM (SELECT view_name AS name, refreshed_at, changes_waiting_since
                               FROM read.view_freshness ORDER BY view_name) AS shown),
           'feeds', (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item)
       )::text AS data,
       CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
            THEN (SELECT json_build_array(account_id, feed) FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['accounts', 'balances', 'transactions'],
                      CASE WHEN %(account_id)s::text IS NOT NULL THEN ARRAY[%(account_id)s::text] END) AS fresh;
