-- What there is to spend; the columns are those of now.sql.
--
-- What is spendable is what the bank states as available, less what it cannot have taken off yet: transfers of ours that it
-- does not show, and money out that it shows but dates after the balance (by the bank's own clock, so that two polls a second
-- apart neither hide it nor count it twice). An available balance that the bank does not state is null, and so is what
-- follows from it: unknown is not zero. Currencies are never added up or converted.

-- name: cash_position_list
-- By currency, over all accounts that are asked for: what is booked, available, pending, committed and spendable. And a page of
-- those accounts, each with how old its own figures are. Sums leave out what is unknown, and count it.
WITH chosen AS MATERIALIZED (
    SELECT account.account_id, account.name, account.status, account.currency
      FROM read.accounts AS account
     WHERE %(status)s::text = 'any' OR account.status = %(status)s::text),
pending AS MATERIALIZED (
    SELECT entry.account_id, entry.currency, coalesce(sum(entry.amount_minor) FILTER (WHERE entry.amount_minor > 0), 0) AS in_minor,
           coalesce(sum(entry.amount_minor) FILTER (WHERE entry.amount_minor < 0), 0) AS out_minor
      FROM read.transactions AS entry
     WHERE entry.status = 'pending'
     GROUP BY entry.account_id, entry.currency),
committed AS MATERIALIZED (
    SELECT transfer.source_account_id AS account_id, transfer.currency, sum(transfer.amount_minor) AS minor
      FROM read.transfers_under_way AS transfer
     GROUP BY transfer.source_account_id, transfer.currency),
-- An account's currencies: its own, those of its balances, and those of what is on its way. Where the bank states no balance in
-- one of them, it is unknown, and what is pending and committed is there all the same.
held AS MATERIALIZED (
    SELECT chosen.account_id, chosen.name, chosen.status, spoken.currency,
           balance.current_minor, balance.available_minor, balance.as_of, balance.synced_at
      FROM (SELECT account_id, currency FROM chosen
            UNION SELECT account_id, currency FROM read.balances
            UNION SELECT account_id, currency FROM pending
            UNION SELECT account_id, currency FROM committed) AS spoken
      JOIN chosen USING (account_id)
      LEFT JOIN read.balances AS balance ON (balance.account_id, balance.currency) = (spoken.account_id, spoken.currency)
     WHERE %(currency)s::text IS NULL OR spoken.currency = %(currency)s::text),
lines AS MATERIALIZED (
    SELECT held.*, money.unit,
           coalesce(pending.in_minor, 0) AS pending_in_minor, coalesce(pending.out_minor, 0) AS pending_out_minor,
           coalesce(committed.minor, 0) AS committed_minor, newer.minor AS newer_out_minor,
           held.available_minor - coalesce(committed.minor, 0) + newer.minor AS spendable_minor
      FROM held
      JOIN read.currencies AS money USING (currency)
      LEFT JOIN pending USING (account_id, currency)
      LEFT JOIN committed USING (account_id, currency)
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(entry.amount_minor), 0) AS minor
             FROM read.transactions AS entry
            WHERE entry.account_id = held.account_id AND entry.currency = held.currency
              AND entry.created_at > held.as_of AND entry.amount_minor < 0) AS newer),
sums AS (
    SELECT lines.currency, lines.unit, count(DISTINCT lines.account_id) AS accounts,
           count(*) FILTER (WHERE lines.current_minor IS NULL) AS accounts_unknown,
           count(*) FILTER (WHERE lines.available_minor IS NULL) AS accounts_available_unknown,
           sum(lines.current_minor) AS booked_minor, sum(lines.available_minor) AS available_minor,
           sum(lines.pending_in_minor) AS pending_in_minor, sum(lines.pending_out_minor) AS pending_out_minor,
           sum(lines.committed_minor) AS committed_minor, sum(lines.newer_out_minor) AS newer_out_minor,
           sum(lines.spendable_minor) AS spendable_minor
      FROM lines GROUP BY lines.currency, lines.unit),
currencies AS (
    SELECT sums.currency, sums.accounts, sums.accounts_unknown, sums.accounts_available_unknown,
           sums.booked_minor, (sums.booked_minor * sums.unit)::text AS booked,
           sums.available_minor, (sums.available_minor * sums.unit)::text AS available,
           sums.pending_in_minor, (sums.pending_in_minor * sums.unit)::text AS pending_in,
           sums.pending_out_minor, (sums.pending_out_minor * sums.unit)::text AS pending_out,
           sums.committed_minor, (sums.committed_minor * sums.unit)::text AS committed,
           sums.newer_out_minor, (sums.newer_out_minor * sums.unit)::text AS newer_out,
           sums.spendable_minor, (sums.spendable_minor * sums.unit)::text AS spendable
      FROM sums ORDER BY sums.currency),
paged AS MATERIALIZED (
    SELECT * FROM lines
     WHERE (lines.account_id, lines.currency) > (%(after_id)s, %(after_currency)s)
     ORDER BY lines.account_id, lines.currency
     LIMIT %(limit)s::int + 1),
judged AS (
    SELECT feed.account_id, max(feed.verdict) AS verdict
      FROM read.feeds AS feed
     WHERE feed.account_id = ANY (ARRAY(SELECT account_id FROM paged)) AND feed.feed = ANY (ARRAY['balances', 'transactions'])
     GROUP BY feed.account_id),
page AS (
    SELECT paged.account_id, paged.name, paged.status, paged.currency,
           paged.current_minor AS booked_minor, (paged.current_minor * paged.unit)::text AS booked,
           paged.available_minor, (paged.available_minor * paged.unit)::text AS available,
           paged.pending_in_minor, (paged.pending_in_minor * paged.unit)::text AS pending_in,
           paged.pending_out_minor, (paged.pending_out_minor * paged.unit)::text AS pending_out,
           paged.committed_minor, (paged.committed_minor * paged.unit)::text AS committed,
           paged.newer_out_minor, (paged.newer_out_minor * paged.unit)::text AS newer_out,
           paged.spendable_minor, (paged.spendable_minor * paged.unit)::text AS spendable,
           paged.as_of, paged.synced_at, judged.verdict
      FROM paged JOIN judged USING (account_id)
     ORDER BY paged.account_id, paged.currency)
SELECT true AS found,
       json_build_object(
           'currencies', (SELECT coalesce(json_agg(currencies), '[]') FROM currencies),
           'accounts', (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item)
       )::text AS data,
       CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
            THEN (SELECT json_build_array(account_id, currency) FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  -- Of the accounts that are asked for; when there are none, of the question whether there are any.
  FROM read.freshness(CASE WHEN EXISTS (SELECT FROM held) THEN ARRAY['accounts', 'balances', 'transactions']
                           ELSE ARRAY['accounts'] END,
                      CASE WHEN EXISTS (SELECT FROM held) THEN ARRAY(SELECT account_id FROM held) END) AS fresh;

-- name: spendable_get
-- What can be spent from one account in one currency, and all that it was counted from. The newest of the transfers and
-- entries are named, and all are counted.
WITH account AS (
    SELECT listed.account_id, listed.status, listed.currency
      FROM read.accounts AS listed WHERE listed.account_id = %(account_id)s),
balance AS (
    SELECT stated.current_minor, stated.available_minor, stated.as_of, stated.synced_at
      FROM read.balances AS stated
     WHERE stated.account_id = %(account_id)s AND stated.currency = %(currency)s::text),
transfers AS MATERIALIZED (
    SELECT transfer.transfer_id::text AS id, transfer.amount_minor, transfer.created_at, transfer.state,
           transfer.outcome_certain AND transfer.state <> 'pending_approval' AS certain
      FROM read.transfers_under_way AS transfer
     WHERE transfer.source_account_id = %(account_id)s AND transfer.currency = %(currency)s::text),
newer AS MATERIALIZED (
    SELECT entry.transaction_id AS id, entry.amount_minor, entry.created_at
      FROM read.transactions AS entry
     WHERE entry.account_id = %(account_id)s AND entry.currency = %(currency)s::text
       AND entry.created_at > (SELECT as_of FROM balance) AND entry.amount_minor < 0),
pending AS MATERIALIZED (
    SELECT entry.transaction_id AS id, entry.amount_minor, entry.created_at
      FROM read.transactions AS entry
     WHERE entry.account_id = %(account_id)s AND entry.currency = %(currency)s::text AND entry.status = 'pending')
SELECT EXISTS (SELECT FROM account) AS found,
       json_build_object(
           'account_currency', (SELECT currency FROM account),
           'account_status', (SELECT status FROM account),
           'balance', (SELECT row_to_json(balance) FROM balance),
           'committed_minor', (SELECT coalesce(sum(amount_minor), 0) FROM transfers),
           'committed_uncertain_minor', (SELECT coalesce(sum(amount_minor), 0) FROM transfers WHERE NOT certain),
           'transfers', (SELECT coalesce(json_agg(id), '[]')
                           FROM (SELECT id FROM transfers ORDER BY created_at DESC, id LIMIT 20) AS named),
           'transfers_counted', (SELECT count(*) FROM transfers),
           'newer_out_minor', (SELECT coalesce(sum(amount_minor), 0) FROM newer),
           'newer', (SELECT coalesce(json_agg(id), '[]')
                       FROM (SELECT id FROM newer ORDER BY created_at DESC, id LIMIT 20) AS named),
           'newer_counted', (SELECT count(*) FROM newer),
           'pending_in_minor', (SELECT coalesce(sum(amount_minor), 0) FROM pending WHERE amount_minor > 0),
           'pending_out_minor', (SELECT coalesce(sum(amount_minor), 0) FROM pending WHERE amount_minor < 0),
           'pending', (SELECT coalesce(json_agg(id), '[]')
                         FROM (SELECT id FROM pending ORDER BY created_at DESC, id LIMIT 20) AS named),
           'pending_counted', (SELECT count(*) FROM pending)
       )::text AS data,
       NULL::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['accounts', 'balances', 'transactions'], ARRAY[%(account_id)s::text]) AS fresh;
