-- What changed between two closed moments, for whoever keeps a copy.
--
-- A page belongs to a window: after `since`, until `until`. What was known at each end can never change any more, so a
-- window says the same whenever it is read, page after page, however long the pauses and whatever is stored meanwhile.

-- name: changes_list
-- A page of a window: what the mirror holds at its end and did not hold, or held otherwise, at its beginning; and what it
-- holds no more. What changed more than once is there once, as it is at the end. Without `until` the window ends at the
-- last closed moment.
--
-- The accounts are walked one after the other until the page is full, and each account's changes in the order of their
-- moments: a page reads what it shows, and where nothing changed, an account costs a few probes of an index. The walk is a
-- recursion, so that it ends where it should whatever the planner thinks. Only keys are walked and sorted; the rows that
-- are shown are fetched afterwards.
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT %(since)s::timestamptz AS since,
           coalesce(%(until)s::timestamptz,
                    greatest(%(since)s::timestamptz, closed.until - interval '1 us')) AS until
      FROM (SELECT CASE WHEN %(account_id)s::text IS NOT NULL THEN read.closed_until(%(account_id)s::text)
                        -- Of all polls, also of a bank whose accounts nobody has seen yet: theirs may come with them.
                        ELSE least((SELECT mark FROM read.clock), (SELECT min(started_at) FROM read.open_runs))
                   END AS until) AS closed),
walk AS (
    SELECT %(after_account)s::text AS account_id, true AS begins, 0 AS found, NULL::timestamptz AS since,
           '{}'::timestamptz[] AS moments, '{}'::text[] AS kinds, '{}'::text[] AS ids
     UNION ALL
    SELECT next.account_id, false, walk.found + cardinality(change.ids), next.since, change.moments, change.kinds, change.ids
      FROM walk
     CROSS JOIN asked
     CROSS JOIN LATERAL (
           SELECT account.account_id,
                  -- Transactions may be stored before their account is listed; with it they are new, however old.
                  CASE WHEN account.first_seen_at > asked.since THEN '-infinity' ELSE asked.since END AS since,
                  CASE WHEN walk.begins AND account.account_id = walk.account_id THEN %(after_moment)s::timestamptz
                       ELSE '-infinity' END AS after_moment,
                  CASE WHEN walk.begins AND account.account_id = walk.account_id THEN %(after_kind)s ELSE '' END AS after_kind,
                  CASE WHEN walk.begins AND account.account_id = walk.account_id THEN %(after_id)s ELSE '' END AS after_id
             FROM read.accounts AS account
            WHERE account.account_id >= walk.account_id
              AND (walk.begins OR account.account_id > walk.account_id)
              AND (%(account_id)s::text IS NULL OR account.account_id = %(account_id)s)
              AND account.first_seen_at <= asked.until
            ORDER BY account.account_id
            LIMIT 1) AS next
      -- The moment at which shown entries alone fill the page: rows of one poll share it, and are sorted by their ids.
     CROSS JOIN LATERAL (
           SELECT coalesce(max(filling.known_from), next.since) AS full_at, count(*) > %(limit)s::int AS is_full
             FROM (SELECT entry.known_from
                     FROM read.transaction_keys AS entry
                    WHERE entry.account_id = next.account_id
                      AND entry.known_from > next.since AND entry.known_from <= asked.until
                      AND entry.known_from >= next.after_moment
                      AND (entry.known_from, 'transaction', entry.transaction_id)
                          > (next.after_moment, next.after_kind, next.after_id)
                    ORDER BY entry.known_from
                    LIMIT %(limit)s::int + 1) AS filling) AS page
     CROSS JOIN LATERAL (
           SELECT CASE WHEN page.is_full THEN page.full_at ELSE asked.until END AS until) AS reach
     CROSS JOIN LATERAL (
           SELECT coalesce(array_agg(moment), '{}') AS moments, coalesce(array_agg(kind), '{}') AS kinds,
                  coalesce(array_agg(id), '{}') AS ids
             FROM (SELECT *
                     FROM ((SELECT stated.known_from AS moment, 'balance' AS kind, held.currency AS id
                              FROM read.balance_keys AS held
                             CROSS JOIN LATERAL (
                                   SELECT balance.known_from
                                     FROM read.balance_history_keys AS balance
                                    WHERE balance.account_id = held.account_id AND balance.currency = held.currency
                                      AND balance.known_from <= asked.until
                                    ORDER BY balance.as_of DESC, balance.known_from DESC
                                    LIMIT 1) AS stated
                             WHERE held.account_id = next.account_id
                               AND stated.known_from > next.since)
                           UNION ALL
                           -- Shown now, and so at the end.
                           (SELECT entry.known_from, 'transaction', entry.transaction_id
                              FROM read.transaction_keys AS entry
                             WHERE entry.account_id = next.account_id
                               AND entry.known_from > next.since AND entry.known_from <= page.full_at
                               AND entry.known_from >= next.after_moment)
                           UNION ALL
                           -- Shown at the end, and ended since.
                           (SELECT entry.known_from, 'transaction', entry.transaction_id
                              FROM read.transaction_past_keys AS entry
                             WHERE entry.account_id = next.account_id
                               AND entry.known_to > asked.until
                               AND entry.known_from > next.since AND entry.known_from <= reach.until
                               AND entry.known_from >= next.after_moment)
                           UNION ALL
                           -- Shown at the beginning, and not at the end.
                           (SELECT gone.known_to, 'transaction', gone.transaction_id
                              FROM read.transaction_past_keys AS gone
                             WHERE gone.account_id = next.account_id
                               AND next.since > '-infinity'
                               AND gone.known_to > next.since AND gone.known_to <= reach.until
                               AND gone.known_to >= next.after_moment
                               AND gone.known_from <= next.since
                               AND NOT EXISTS (
                                   SELECT FROM read.transaction_keys AS entry
                                    WHERE entry.account_id = gone.account_id
                                      AND entry.transaction_id = gone.transaction_id
                                      AND entry.known_from <= asked.until)
                               AND NOT EXISTS (
                                   SELECT FROM read.transaction_past_keys AS entry
                                    WHERE entry.account_id = gone.account_id
                                      AND entry.transaction_id = gone.transaction_id
                                      AND entry.known_from <= asked.until AND entry.known_to > asked.until))) AS changed
                    WHERE (changed.moment, changed.kind, changed.id) > (next.after_moment, next.after_kind, next.after_id)
                    ORDER BY changed.moment, changed.kind, changed.id
                    LIMIT %(limit)s::int + 1) AS taken) AS change
     WHERE walk.found <= %(limit)s::int AND (walk.begins OR %(account_id)s::text IS NULL)),
page AS MATERIALIZED (
    SELECT *
      FROM (SELECT row_number() OVER (ORDER BY walk.account_id, change.moment, change.kind, change.id) AS place,
                   walk.account_id, walk.since, change.moment, change.kind, change.id
              FROM walk
             CROSS JOIN unnest(walk.moments, walk.kinds, walk.ids) AS change (moment, kind, id)
             ORDER BY place
             -- The most that can be asked for, as a number; see activity_list.
             LIMIT 501) AS walked
     LIMIT %(limit)s::int + 1),
held AS MATERIALIZED (
    SELECT page.place, page.since, entry.transaction_id, entry.account_id, entry.amount_minor, entry.amount::text,
           entry.currency, entry.status, entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id,
           entry.pending_transaction_id,
           read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted
      FROM asked
     CROSS JOIN page
      JOIN read.transactions AS entry ON entry.account_id = page.account_id AND entry.transaction_id = page.id
     WHERE page.kind = 'transaction' AND page.place <= %(limit)s::int
       AND entry.known_from <= asked.until
     UNION ALL
    SELECT page.place, page.since, entry.transaction_id, entry.account_id, entry.amount_minor, entry.amount::text,
           entry.currency, entry.status, entry.type, entry.created_at, entry.booked_on, entry.counterparty_account_id,
           entry.pending_transaction_id,
           read.untrusted(entry.description, entry.counterparty_name, entry.warnings) AS untrusted
      FROM asked
     CROSS JOIN page
      JOIN read.transaction_past AS entry ON entry.account_id = page.account_id AND entry.transaction_id = page.id
     WHERE page.kind = 'transaction' AND page.place <= %(limit)s::int
       AND entry.known_from <= asked.until AND entry.known_to > asked.until),
compared AS (
    SELECT held.*,
           EXISTS (SELECT FROM read.transaction_past_keys AS past
                    WHERE past.account_id = held.account_id AND past.transaction_id = held.transaction_id
                      AND past.known_from <= held.since AND past.known_to > held.since) AS was_held
      FROM held)
SELECT %(account_id)s::text IS NULL
           OR EXISTS (SELECT FROM read.accounts WHERE account_id = %(account_id)s) AS found,
       json_build_object(
           'added', (SELECT coalesce(json_agg(item), '[]')
                       FROM (SELECT transaction_id, account_id, amount_minor, amount, currency, status, type, created_at,
                                    booked_on, counterparty_account_id, pending_transaction_id, untrusted
                               FROM compared WHERE NOT was_held ORDER BY place) AS item),
           'modified', (SELECT coalesce(json_agg(item), '[]')
                          FROM (SELECT transaction_id, account_id, amount_minor, amount, currency, status, type, created_at,
                                       booked_on, counterparty_account_id, pending_transaction_id, untrusted
                                  FROM compared WHERE was_held ORDER BY place) AS item),
           'removed', (SELECT coalesce(json_agg(item), '[]')
                         FROM (SELECT page.account_id, page.id AS transaction_id, last.successor_id, last.ended_by
                                 FROM asked
                                CROSS JOIN page
                                CROSS JOIN LATERAL (
                                      SELECT past.successor_id, past.ended_by
                                        FROM read.transaction_past_keys AS past
                                       WHERE past.account_id = page.account_id AND past.transaction_id = page.id
                                         AND past.known_to <= asked.until
                                       ORDER BY past.known_to DESC, past.known_from DESC
                                       LIMIT 1) AS last
                                WHERE page.kind = 'transaction' AND page.place <= %(limit)s::int
                                  AND page.place NOT IN (SELECT place FROM held)
                                ORDER BY page.place) AS item),
           'balances', (SELECT coalesce(json_agg(item), '[]')
                          FROM (SELECT balance.account_id, balance.currency, balance.current_minor, balance.current::text,
                                       balance.available_minor, balance.available::text, balance.as_of
                                  FROM page
                                  JOIN read.balance_history AS balance
                                    ON balance.account_id = page.account_id AND balance.currency = page.id
                                   AND balance.known_from = page.moment
                                 WHERE page.kind = 'balance' AND page.place <= %(limit)s::int
                                 ORDER BY page.place) AS item)
       )::text AS data,
       (SELECT CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
                    THEN json_build_array(asked.since, asked.until, last.account_id, last.moment, last.kind, last.id)
                    ELSE json_build_array(asked.until, '', '', '-infinity', '', '') END
          FROM asked LEFT JOIN page AS last ON last.place = %(limit)s::int)::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds,
       (SELECT count(*) FROM page) > %(limit)s::int AS has_more,
       EXISTS (SELECT FROM page) AS changed
  FROM read.freshness(ARRAY['balances', 'transactions'],
                      CASE WHEN %(account_id)s::text IS NOT NULL THEN ARRAY[%(account_id)s::text] END) AS fresh;

-- name: changes_closed
-- The last moment until which changes can be told by now, as in changes_list; and now.
SELECT CASE WHEN %(account_id)s::text IS NOT NULL THEN read.closed_until(%(account_id)s::text)
            ELSE least((SELECT mark FROM read.clock), (SELECT min(started_at) FROM read.open_runs))
       END - interval '1 us' AS until,
       now() AS asked_at;
