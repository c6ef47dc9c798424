-- What happened in some days, in few words; the columns are those of now.sql.

-- name: activity_summary_get
-- By currency: money in and out as a whole, by status, by type and by counterparty (the greatest by what moved), and the
-- largest entries. All in one pass over the days; without sight of memos there are no counterparties.
WITH entries AS MATERIALIZED (
    SELECT entry.account_id, entry.transaction_id, entry.currency, entry.status, entry.type, entry.amount_minor, entry.day,
           entry.counterparty_name
      FROM read.transactions AS entry
     WHERE entry.account_id = %(account_id)s /* whose */
       AND entry.day BETWEEN %(first)s::date AND %(last)s::date
       AND (%(currency)s::text IS NULL OR entry.currency = %(currency)s::text)),
grouped AS MATERIALIZED (
    SELECT entries.currency, entries.status, entries.type, entries.counterparty_name,
           CASE GROUPING (entries.status, entries.type, entries.counterparty_name)
                WHEN 7 THEN 'whole' WHEN 3 THEN 'status' WHEN 5 THEN 'type' WHEN 6 THEN 'counterparty' END AS level,
           count(*) AS entries,
           coalesce(sum(entries.amount_minor) FILTER (WHERE entries.amount_minor > 0), 0) AS in_minor,
           coalesce(sum(entries.amount_minor) FILTER (WHERE entries.amount_minor < 0), 0) AS out_minor,
           min(entries.day) AS first_day, max(entries.day) AS last_day
      FROM entries
     GROUP BY GROUPING SETS ((entries.currency), (entries.currency, entries.status), (entries.currency, entries.type),
                             (entries.currency, entries.counterparty_name))),
ranked AS (
    SELECT grouped.*, money.unit,
           row_number() OVER (PARTITION BY grouped.currency, grouped.level
                              ORDER BY grouped.in_minor - grouped.out_minor DESC, grouped.type, grouped.counterparty_name) AS place
      FROM grouped JOIN read.currencies AS money USING (currency)
     WHERE grouped.level <> 'counterparty' OR grouped.counterparty_name IS NOT NULL),
lines AS (
    SELECT ranked.currency, ranked.level, ranked.place, ranked.status, ranked.type, ranked.entries,
           ranked.in_minor, (ranked.in_minor * ranked.unit)::text AS "in",
           ranked.out_minor, (ranked.out_minor * ranked.unit)::text AS out,
           CASE WHEN ranked.level = 'counterparty'
                THEN json_build_object('counterparty_name', ranked.counterparty_name,
                                       'warnings', read.warnings(NULL, ranked.counterparty_name)) END AS untrusted
      FROM ranked
     WHERE ranked.level = 'status' OR (ranked.level <> 'whole' AND ranked.place <= %(top)s::int)),
currencies AS (
    SELECT whole.currency, whole.entries, whole.first_day, whole.last_day,
           whole.in_minor, (whole.in_minor * whole.unit)::text AS "in",
           whole.out_minor, (whole.out_minor * whole.unit)::text AS out,
           whole.in_minor + whole.out_minor AS net_minor, ((whole.in_minor + whole.out_minor) * whole.unit)::text AS net,
           (SELECT coalesce(json_agg(line), '[]')
              FROM (SELECT status, entries, in_minor, "in", out_minor, out FROM lines
                     WHERE lines.currency = whole.currency AND lines.level = 'status' ORDER BY place) AS line) AS by_status,
           (SELECT coalesce(json_agg(line), '[]')
              FROM (SELECT type, entries, in_minor, "in", out_minor, out FROM lines
                     WHERE lines.currency = whole.currency AND lines.level = 'type' ORDER BY place) AS line) AS by_type,
           CASE WHEN read.sees_memos()
                THEN (SELECT coalesce(json_agg(line), '[]')
                   FROM (SELECT untrusted, entries, in_minor, "in", out_minor, out FROM lines
                          WHERE lines.currency = whole.currency AND lines.level = 'counterparty' ORDER BY place) AS line) END AS by_counterparty,
           (SELECT coalesce(json_agg(large), '[]')
              FROM (SELECT entries.transaction_id, entries.account_id, entries.amount_minor,
                           (entries.amount_minor * whole.unit)::text AS amount, entries.status, entries.type, entries.day
                      FROM entries
                     WHERE entries.currency = whole.currency
                     ORDER BY abs(entries.amount_minor) DESC, entries.transaction_id, entries.account_id
                     LIMIT %(top)s::int) AS large) AS largest
      FROM ranked AS whole
     WHERE whole.level = 'whole'
     ORDER BY whole.currency)
SELECT %(account_id)s::text IS NULL OR EXISTS (SELECT FROM read.accounts WHERE account_id = %(account_id)s) AS found,
       json_build_object(
           'from', %(first)s::date,
           'to', %(last)s::date,
           'currencies', (SELECT coalesce(json_agg(currencies), '[]') FROM currencies)
       )::text AS data,
       NULL::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['transactions'],
                      CASE WHEN %(account_id)s::text IS NOT NULL THEN ARRAY[%(account_id)s::text] END) AS fresh;
