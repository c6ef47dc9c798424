-- Why the books of some days changed between two moments; the columns are those of moments.sql.

-- name: differences_list
-- What we believed at known_from against what we believed at known_to: a summary by account and currency that ties, and a
-- page of differences by account, day and id. Only posted money has an effect on totals.
WITH RECURSIVE asked AS (
    SELECT closed.until AS closed_until,
           CASE WHEN %(known_to)s::timestamptz > now() THEN 'future'
                WHEN %(known_to)s::timestamptz < closed.until THEN 'closed'
                ELSE 'open' END AS state,
           coalesce(%(first)s::date, '-infinity') AS first_day,
           coalesce(%(last)s::date, 'infinity') AS last_day
      FROM (SELECT read.closed_until(%(account_id)s::text) AS until) AS closed),
chosen AS (
    SELECT ARRAY(SELECT account_id FROM read.accounts
                  WHERE %(account_id)s::text IS NULL OR account_id = %(account_id)s) AS ids),
ended AS MATERIALIZED (
    SELECT * FROM read.transaction_past AS past
     WHERE past.account_id = ANY ((SELECT ids FROM chosen)::text[])
       AND past.known_to > %(known_from)s::timestamptz AND past.known_to <= %(known_to)s::timestamptz
       AND past.known_from <= %(known_from)s::timestamptz),
begun AS MATERIALIZED (
    SELECT account_id, transaction_id, amount_minor, amount, currency, status, type, created_at, booked_on, day,
           counterparty_account_id, client_reference, pending_transaction_id, description, counterparty_name, known_from, warnings
      FROM read.transactions AS shown
     WHERE shown.account_id = ANY ((SELECT ids FROM chosen)::text[])
       AND shown.known_from > %(known_from)s::timestamptz AND shown.known_from <= %(known_to)s::timestamptz
     UNION ALL
    SELECT account_id, transaction_id, amount_minor, amount, currency, status, type, created_at, booked_on, day,
           counterparty_account_id, client_reference, pending_transaction_id, description, counterparty_name, known_from, warnings
      FROM read.transaction_past AS past
     WHERE past.account_id = ANY ((SELECT ids FROM chosen)::text[])
       AND past.known_to > %(known_to)s::timestamptz
       AND past.known_from > %(known_from)s::timestamptz AND past.known_from <= %(known_to)s::timestamptz),
-- What is gone under its id may go on under another one, and that under a third.
followed AS (
    SELECT ended.account_id, ended.transaction_id AS first_id, ended.transaction_id AS id, 0 AS hops
      FROM ended
     WHERE (ended.account_id, ended.transaction_id) NOT IN (SELECT account_id, transaction_id FROM begun)
     UNION ALL
    SELECT followed.account_id, followed.first_id, last.successor_id, followed.hops + 1
      FROM followed
     CROSS JOIN LATERAL (
           SELECT past.successor_id
             FROM read.transaction_past AS past
            WHERE past.account_id = followed.account_id AND past.transaction_id = followed.id
              AND past.known_to > %(known_from)s::timestamptz AND past.known_to <= %(known_to)s::timestamptz
            ORDER BY past.known_to DESC, past.known_from DESC
            LIMIT 1) AS last
     WHERE last.successor_id IS NOT NULL
       -- A bank that changes its mind more often between two moments has its entries shown as gone and come.
       AND followed.hops < 10
       AND (followed.account_id, followed.id) NOT IN (SELECT account_id, transaction_id FROM begun)),
pairs AS (
    SELECT ended.account_id, ended.transaction_id AS before_id, ended.transaction_id AS after_id
      FROM ended JOIN begun USING (account_id, transaction_id)
     UNION ALL
    -- Of two entries that became one, only one is its past.
    (SELECT DISTINCT ON (followed.account_id, followed.id) followed.account_id, followed.first_id, followed.id
       FROM followed
       JOIN begun ON (begun.account_id, begun.transaction_id) = (followed.account_id, followed.id)
      WHERE followed.hops > 0
        AND (followed.account_id, followed.id) NOT IN (SELECT account_id, transaction_id FROM ended)
      ORDER BY followed.account_id, followed.id, followed.hops, followed.first_id)),
compared AS (
    SELECT coalesce(was.account_id, became.account_id) AS account_id,
           coalesce(was.transaction_id, became.transaction_id) AS transaction_id,
           coalesce(was.day, became.day) AS day,
           was.transaction_id AS before_id, became.transaction_id AS after_id,
           was.status AS before_status, became.status AS after_status,
           was.currency AS before_currency, became.currency AS after_currency,
           was.booked_on AS before_booked_on, became.booked_on AS after_booked_on,
           was.amount_minor AS before_minor, became.amount_minor AS after_minor,
           CASE WHEN was.status = 'posted' AND was.booked_on BETWEEN asked.first_day AND asked.last_day
                THEN was.amount_minor ELSE 0 END AS counted_before,
           CASE WHEN became.status = 'posted' AND became.booked_on BETWEEN asked.first_day AND asked.last_day
                THEN became.amount_minor ELSE 0 END AS counted_after,
           CASE WHEN was.transaction_id IS NULL OR became.transaction_id IS NULL THEN '{}'
                ELSE array_remove(ARRAY[
                    CASE WHEN was.amount_minor <> became.amount_minor THEN 'amount_minor' END,
                    CASE WHEN was.currency <> became.currency THEN 'currency' END,
                    CASE WHEN was.status <> became.status THEN 'status' END,
                    CASE WHEN was.type <> became.type THEN 'type' END,
                    CASE WHEN was.created_at <> became.created_at THEN 'created_at' END,
                    CASE WHEN was.booked_on IS DISTINCT FROM became.booked_on THEN 'booked_on' END,
                    CASE WHEN was.counterparty_account_id IS DISTINCT FROM became.counterparty_account_id
                         THEN 'counterparty_account_id' END,
                    CASE WHEN was.client_reference IS DISTINCT FROM became.client_reference THEN 'client_reference' END,
                    CASE WHEN was.description <> became.description THEN 'description' END,
                    CASE WHEN was.counterparty_name IS DISTINCT FROM became.counterparty_name THEN 'counterparty_name' END],
                    NULL) END AS changed,
           CASE WHEN was.transaction_id IS NOT NULL THEN json_build_object(
               'transaction_id', was.transaction_id, 'account_id', was.account_id, 'amount_minor', was.amount_minor,
               'amount', was.amount::text, 'currency', was.currency, 'status', was.status, 'type', was.type,
               'created_at', was.created_at, 'booked_on', was.booked_on,
               'counterparty_account_id', was.counterparty_account_id,
               'pending_transaction_id', was.pending_transaction_id,
               'untrusted', read.untrusted(was.description, was.counterparty_name, was.warnings),
               'known_from', was.known_from) END AS before,
           CASE WHEN became.transaction_id IS NOT NULL THEN json_build_object(
               'transaction_id', became.transaction_id, 'account_id', became.account_id,
               'amount_minor', became.amount_minor, 'amount', became.amount::text, 'currency', became.currency,
               'status', became.status, 'type', became.type, 'created_at', became.created_at,
               'booked_on', became.booked_on, 'counterparty_account_id', became.counterparty_account_id,
               'pending_transaction_id', became.pending_transaction_id,
               'untrusted', read.untrusted(became.description, became.counterparty_name, became.warnings),
               'known_from', became.known_from) END AS after
      FROM asked
     CROSS JOIN (
           (ended AS was LEFT JOIN pairs ON pairs.account_id = was.account_id AND pairs.before_id = was.transaction_id)
           FULL JOIN begun AS became
                  ON became.account_id = pairs.account_id AND became.transaction_id = pairs.after_id)
     WHERE was.day BETWEEN asked.first_day AND asked.last_day
        OR became.day BETWEEN asked.first_day AND asked.last_day),
lines AS MATERIALIZED (
    SELECT compared.*,
           last.successor_id,
           CASE WHEN compared.before_id IS NULL THEN CASE
                    WHEN EXISTS (
                        SELECT FROM read.transaction_past AS past
                         WHERE past.account_id = compared.account_id AND past.transaction_id = compared.after_id
                           AND past.known_to <= %(known_from)s::timestamptz AND past.known_from < past.known_to)
                    THEN 'returned'
                    WHEN compared.after_booked_on < (%(known_from)s::timestamptz AT TIME ZONE 'UTC')::date THEN 'late'
                    ELSE 'new' END
                WHEN compared.after_id IS NULL THEN last.ended_by
                WHEN compared.before_status = 'pending' AND compared.after_status = 'posted' THEN 'settled'
                WHEN compared.changed = '{}' THEN 'rekeyed'
                WHEN compared.before_booked_on <> compared.after_booked_on
                     AND (compared.before_minor, compared.before_currency) = (compared.after_minor, compared.after_currency)
                THEN 're-dated'
                ELSE 'corrected' END AS kind
      FROM compared
      LEFT JOIN LATERAL (
           SELECT past.ended_by, past.successor_id
             FROM read.transaction_past AS past
            WHERE compared.after_id IS NULL
              AND past.account_id = compared.account_id AND past.transaction_id = compared.before_id
              AND past.known_to > %(known_from)s::timestamptz AND past.known_to <= %(known_to)s::timestamptz
            ORDER BY past.known_to DESC, past.known_from DESC
            LIMIT 1) AS last ON true
     -- The same again under the same id is no difference, whatever happened in between.
     WHERE NOT (compared.changed = '{}' AND compared.before_id IS NOT DISTINCT FROM compared.after_id)),
effects AS (
    SELECT account_id, transaction_id, kind, currency, sum(minor)::bigint AS effect_minor
      FROM (SELECT account_id, transaction_id, kind, before_currency AS currency, -counted_before AS minor
              FROM lines WHERE before_id IS NOT NULL
             UNION ALL
            SELECT account_id, transaction_id, kind, after_currency, counted_after
              FROM lines WHERE after_id IS NOT NULL) AS moved (account_id, transaction_id, kind, currency, minor)
     GROUP BY account_id, transaction_id, kind, currency),
-- The totals are counted from all rows, and the effects from the lines that were made of them: where the two tie, no row was
-- lost or counted twice on the way.
totals AS (
    SELECT account_id, currency, sum(minor) FILTER (WHERE at_end) AS after_minor,
           sum(minor) FILTER (WHERE NOT at_end) AS before_minor
      FROM (SELECT total.account_id, total.currency, total.in_minor + total.out_minor AS minor, way.at_end
              FROM (VALUES (false, %(known_from)s::timestamptz), (true, %(known_to)s::timestamptz)) AS way (at_end, moment)
             CROSS JOIN asked
             CROSS JOIN LATERAL read.totals_at(way.moment, ARRAY(SELECT DISTINCT account_id FROM lines),
                                               asked.first_day, asked.last_day) AS total) AS counted
     GROUP BY account_id, currency),
kinds AS (
    SELECT effects.account_id, effects.currency, effects.kind, count(*) AS entries, sum(effects.effect_minor) AS effect_minor
      FROM effects GROUP BY effects.account_id, effects.currency, effects.kind),
summary AS (
    SELECT counted.account_id, counted.currency,
           coalesce(totals.before_minor, 0) AS known_from_minor,
           (coalesce(totals.before_minor, 0) * money.unit)::text AS known_from,
           coalesce(totals.after_minor, 0) AS known_to_minor,
           (coalesce(totals.after_minor, 0) * money.unit)::text AS known_to,
           coalesce(totals.after_minor, 0) - coalesce(totals.before_minor, 0) AS change_minor,
           ((coalesce(totals.after_minor, 0) - coalesce(totals.before_minor, 0)) * money.unit)::text AS change,
           counted.explained_minor,
           counted.explained_minor = coalesce(totals.after_minor, 0) - coalesce(totals.before_minor, 0) AS ties,
           counted.kinds
      FROM (SELECT kinds.account_id, kinds.currency, sum(kinds.effect_minor) AS explained_minor,
                   json_agg(json_build_object('kind', kinds.kind, 'entries', kinds.entries,
                                              'effect_minor', kinds.effect_minor,
                                              'effect', (kinds.effect_minor * money.unit)::text)
                            ORDER BY kinds.kind) AS kinds
              FROM kinds JOIN read.currencies AS money USING (currency)
             GROUP BY kinds.account_id, kinds.currency) AS counted
      LEFT JOIN totals USING (account_id, currency)
      JOIN read.currencies AS money USING (currency)),
page AS (
    SELECT lines.account_id, lines.kind, lines.day, lines.transaction_id, lines.successor_id,
           (SELECT json_agg(json_build_object('currency', effects.currency, 'effect_minor', effects.effect_minor,
                                              'effect', (effects.effect_minor * money.unit)::text)
                            ORDER BY effects.currency)
              FROM effects JOIN read.currencies AS money USING (currency)
             WHERE (effects.account_id, effects.transaction_id) = (lines.account_id, lines.transaction_id)) AS effects,
           lines.changed, lines.before, lines.after
      FROM lines
     WHERE (lines.account_id, lines.day, lines.transaction_id) > (%(after_id)s, %(after_day)s::date, %(after_key)s)
     ORDER BY lines.account_id, lines.day, lines.transaction_id
     LIMIT %(limit)s::int + 1)
SELECT to_json(asked.closed_until) #>> '{}' AS closed_until,
       asked.state,
       %(account_id)s::text IS NULL
           OR EXISTS (SELECT FROM read.accounts
                       WHERE account_id = %(account_id)s AND first_seen_at <= %(known_to)s::timestamptz) AS found,
       CASE WHEN asked.state = 'closed'
            THEN json_build_object(
                'known_from', %(known_from)s::timestamptz,
                'known_to', %(known_to)s::timestamptz,
                'summary', (SELECT coalesce(json_agg(item), '[]')
                              FROM (SELECT * FROM summary ORDER BY account_id, currency) AS item),
                'differences', (SELECT coalesce(json_agg(item), '[]')
                                  FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item))
       END::text AS data,
       CASE WHEN asked.state = 'closed'
            THEN CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
                      THEN (SELECT json_build_array(account_id, day, transaction_id)
                              FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END END::text AS next,
       CASE WHEN asked.state = 'closed'
            THEN (SELECT row_to_json(fresh)
                    FROM read.freshness_at(ARRAY['transactions'], %(known_to)s::timestamptz,
                        CASE WHEN %(account_id)s::text IS NOT NULL THEN ARRAY[%(account_id)s::text] END) AS fresh)
       END::text AS freshness,
       NULL::int AS age_seconds,
       NULL::int AS fresh_seconds
  FROM asked;
