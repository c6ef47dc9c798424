-- Why a balance is what it is; the columns are those of now.sql.
--
-- The bank states balances and shows entries, and both are read by polls of their own. An entry that one poll learned just
-- after a balance was read may be in that balance already, and one that was learned just before may not be in it yet. So a
-- balance is cut off from the entries beside it in four ways: by when we learned of them; with those that we learned next;
-- without those that we learned last; and by the bank's own times. What ties in one of them is explained. What ties in none
-- is told as a difference, and as wrong only where no other way was possible.

-- name: balance_explain
-- A balance as an opening that the bank stated before, and the entries since, each with its effect on booked money; beside
-- them what is pending, and what is newer than the balance. Where the bank stated no balance before, the opening is counted
-- back from the shown one, and proves nothing. The sums are of all entries, and these are a page.
WITH account AS (
    SELECT listed.account_id, coalesce(%(currency)s::text, listed.currency) AS currency
      FROM read.accounts AS listed WHERE listed.account_id = %(account_id)s),
shown AS (
    SELECT balance.*, money.unit
      FROM account
      JOIN read.balances AS balance USING (account_id, currency)
      JOIN read.currencies AS money USING (currency)),
feed AS (
    SELECT known.synced_at, known.verdict, loaded.complete_from,
           -- What came with the history is not newer than a balance that was read before it.
           greatest(shown.synced_at, coalesce(loaded.complete_from, 'infinity')) AS settled_at
      FROM read.feeds AS known
     CROSS JOIN (
           SELECT min(spell.known_from) AS complete_from FROM read.confirmations AS spell
            WHERE spell.account_id = %(account_id)s AND spell.feed = 'transactions' AND spell.complete) AS loaded
      LEFT JOIN shown ON true
     WHERE known.account_id = %(account_id)s AND known.feed = 'transactions'),
-- Twenty entries or a month, whichever is less, where no day is asked for.
span AS (
    SELECT coalesce(%(first)s::date::timestamp AT TIME ZONE 'UTC',
                    greatest((SELECT min(last.known_from)
                                FROM (SELECT entry.known_from
                                        FROM read.transactions AS entry JOIN account USING (account_id, currency)
                                       WHERE entry.account_id = %(account_id)s AND entry.status = 'posted'
                                       ORDER BY entry.known_from DESC LIMIT 20) AS last),
                             now() - interval '31 days')) AS begins),
opening AS (
    SELECT stated.current_minor, stated.as_of, stated.known_from, stated.last_seen_at
      FROM shown
      JOIN read.balance_history AS stated USING (account_id, currency)
     CROSS JOIN span
      -- Of before the history was loaded we know balances, and not which entries they held.
      JOIN feed ON stated.last_seen_at >= feed.complete_from
     CROSS JOIN LATERAL (
           SELECT CASE WHEN %(first)s::date IS NULL THEN stated.known_from ELSE stated.as_of END <= span.begins AS is_before) AS placed
     WHERE placed.is_before
        OR (%(first)s::date IS NULL
            AND (stated.current_minor, stated.as_of) IS DISTINCT FROM (shown.current_minor, shown.as_of)
            AND stated.last_seen_at < shown.synced_at)
     ORDER BY placed.is_before DESC, CASE WHEN placed.is_before THEN stated.known_from END DESC, stated.known_from
     LIMIT 1),
events AS MATERIALIZED (
    SELECT moved.*
      FROM (SELECT CASE WHEN opening.last_seen_at IS NULL THEN feed.settled_at
                        ELSE greatest(opening.last_seen_at - interval '60 seconds', feed.complete_from) END AS since
              FROM shown CROSS JOIN feed LEFT JOIN opening ON true) AS floor
     CROSS JOIN LATERAL (
           SELECT entry.transaction_id, entry.amount_minor AS effect_minor, entry.known_from AS at, entry.created_at,
                  entry.booked_on AS day, entry.type, 'booked' AS kind
             FROM read.transactions AS entry
            WHERE entry.account_id = %(account_id)s AND entry.currency = (SELECT currency FROM account)
              AND entry.status = 'posted' AND entry.known_from > floor.since
            UNION ALL
           SELECT past.transaction_id, past.amount_minor, past.known_from, past.created_at, past.booked_on, past.type, 'booked'
             FROM read.transaction_past AS past
            WHERE past.account_id = %(account_id)s AND past.currency = (SELECT currency FROM account)
              AND past.status = 'posted' AND past.known_to > floor.since AND past.known_from > floor.since
            UNION ALL
           SELECT past.transaction_id, -past.amount_minor, past.known_to, past.created_at, past.booked_on, past.type, past.ended_by
             FROM read.transaction_past AS past
            WHERE past.account_id = %(account_id)s AND past.currency = (SELECT currency FROM account)
              AND past.status = 'posted' AND past.known_to > floor.since) AS moved),
-- The polls on both sides of each balance.
beside AS (
    SELECT opening.last_seen_at AS opens_at, shown.synced_at AS closes_at, opening.as_of AS opening_as_of, shown.as_of,
           shown.current_minor - opening.current_minor AS change_minor,
           (SELECT max(at) FROM events WHERE at <= opening.last_seen_at) AS opening_last,
           (SELECT min(at) FROM events WHERE at > opening.last_seen_at) AS opening_next,
           (SELECT max(at) FROM events WHERE at <= shown.synced_at AND at > shown.synced_at - interval '60 seconds') AS last,
           (SELECT min(at) FROM events WHERE at > shown.synced_at) AS next
      FROM shown CROSS JOIN opening),
cuts AS (
    SELECT way.opens, way.rank, way.cut, way.by_bank, way.low, way.high
      FROM beside
     CROSS JOIN LATERAL (VALUES
           (true, 0, opens_at, false, NULL, NULL),
           (true, 1, opening_next, false, NULL, NULL),
           (true, 2, opening_last - interval '1 us', false, NULL, NULL),
           (true, 3, opens_at, true, coalesce(opening_last, opening_next), coalesce(opening_next, opening_last)),
           (false, 0, closes_at, false, NULL, NULL),
           (false, 1, next, false, NULL, NULL),
           (false, 2, last - interval '1 us', false, NULL, NULL),
           (false, 3, closes_at, true, coalesce(last, next), coalesce(next, last))
           ) AS way (opens, rank, cut, by_bank, low, high)
     WHERE way.cut IS NOT NULL AND (NOT way.by_bank OR way.low IS NOT NULL)),
-- Events of the same polls fall on the same side but by the bank's times, so a few sums stand for all of them.
sums AS MATERIALIZED (
    SELECT min(events.at) AS at, early.opening_as_of, early.as_of, sum(events.effect_minor) AS effect_minor
      FROM events
     CROSS JOIN beside
     CROSS JOIN LATERAL (
           SELECT events.created_at <= beside.opening_as_of AS opening_as_of, events.created_at <= beside.as_of AS as_of) AS early
     GROUP BY early.opening_as_of, early.as_of,
              CASE WHEN events.at IN (beside.opening_last, beside.opening_next, beside.last, beside.next) THEN events.at END,
              events.at > beside.opens_at, events.at > beside.closes_at),
tried AS (
    SELECT first.rank AS opening_rank, second.rank, beside.change_minor,
           coalesce(sum(sums.effect_minor) FILTER (
               WHERE CASE WHEN second.by_bank AND sums.at BETWEEN second.low AND second.high THEN sums.as_of
                          ELSE sums.at <= second.cut END
                 AND NOT CASE WHEN first.by_bank AND sums.at BETWEEN first.low AND first.high THEN sums.opening_as_of
                              ELSE sums.at <= first.cut END), 0) AS effect_minor
      FROM beside
      JOIN cuts AS first ON first.opens
      JOIN cuts AS second ON NOT second.opens AND first.cut <= second.cut
      LEFT JOIN sums ON true
     GROUP BY first.rank, second.rank, beside.change_minor),
chosen AS (
    SELECT tried.opening_rank, tried.rank, tried.effect_minor = tried.change_minor AS ties
      FROM tried
     WHERE tried.effect_minor = tried.change_minor OR (tried.opening_rank, tried.rank) = (0, 0)
     ORDER BY tried.effect_minor = tried.change_minor DESC, tried.opening_rank + tried.rank, tried.opening_rank
     LIMIT 1),
placed AS (
    SELECT events.*,
           CASE WHEN second.by_bank AND events.at BETWEEN second.low AND second.high THEN events.created_at <= beside.as_of
                ELSE events.at <= second.cut END AS in_shown,
           CASE WHEN first.by_bank AND events.at BETWEEN first.low AND first.high THEN events.created_at <= beside.opening_as_of
                ELSE events.at <= first.cut END AS in_opening
      FROM events
     CROSS JOIN beside
     CROSS JOIN chosen
      JOIN cuts AS first ON first.opens AND first.rank = chosen.opening_rank
      JOIN cuts AS second ON NOT second.opens AND second.rank = chosen.rank
     UNION ALL
    SELECT events.*, false, false FROM events WHERE NOT EXISTS (SELECT FROM opening)),
-- Where nothing was stated before: the days that are asked for, or those of the twenty newest entries.
counted_from AS (
    SELECT coalesce(%(first)s::date,
                    greatest((SELECT min(last.booked_on)
                                FROM (SELECT entry.booked_on
                                        FROM read.transactions AS entry JOIN account USING (account_id, currency)
                                       WHERE entry.account_id = %(account_id)s AND entry.status = 'posted'
                                       ORDER BY entry.created_at DESC, entry.transaction_id DESC LIMIT 20) AS last),
                             (now() AT TIME ZONE 'UTC')::date - 31)) AS day
     WHERE NOT EXISTS (SELECT FROM opening)),
lines AS MATERIALIZED (
    SELECT transaction_id, CASE count(*) WHEN 1 THEN min(kind) ELSE 'corrected' END AS kind, max(at) AS known_at,
           (array_agg(day ORDER BY at DESC, effect_minor = 0))[1] AS day, (array_agg(type ORDER BY at DESC))[1] AS type,
           sum(effect_minor)::bigint AS effect_minor
      FROM placed
     WHERE in_shown AND NOT in_opening
     GROUP BY transaction_id
    HAVING sum(effect_minor) <> 0
     UNION ALL
    SELECT entry.transaction_id, 'booked', entry.known_from, entry.booked_on, entry.type, entry.amount_minor
      FROM counted_from
     CROSS JOIN shown
      JOIN read.transactions AS entry USING (account_id, currency)
     WHERE entry.account_id = %(account_id)s AND entry.status = 'posted' AND entry.booked_on >= counted_from.day
       AND entry.known_from <= (SELECT settled_at FROM feed) AND entry.amount_minor <> 0),
newer AS MATERIALIZED (
    SELECT transaction_id, max(at) AS known_at, sum(effect_minor)::bigint AS effect_minor
      FROM placed WHERE NOT in_shown
     GROUP BY transaction_id HAVING sum(effect_minor) <> 0),
pending AS MATERIALIZED (
    SELECT entry.transaction_id, entry.type, entry.created_at, entry.amount_minor, entry.amount::text, entry.lapsed
      FROM account
      JOIN read.transactions AS entry USING (account_id, currency)
     WHERE entry.account_id = %(account_id)s AND entry.status = 'pending'),
totals AS (
    SELECT shown.unit, shown.current_minor,
           (SELECT coalesce(sum(effect_minor), 0) FROM lines) AS entries_minor,
           (SELECT count(*) FROM lines) AS entries_count,
           (SELECT coalesce(sum(effect_minor), 0) FROM newer) AS newer_minor,
           (SELECT count(*) FROM newer) AS newer_count,
           (SELECT coalesce(sum(amount_minor), 0) FROM pending) AS pending_minor,
           (SELECT coalesce(sum(amount_minor) FILTER (WHERE amount_minor < 0), 0) FROM pending) AS pending_out_minor,
           (SELECT count(*) FROM pending) AS pending_count
      FROM shown),
explained AS (
    SELECT totals.*, coalesce(opening.current_minor, totals.current_minor - totals.entries_minor) AS opening_minor,
           opening.current_minor IS NOT NULL AS is_stated
      FROM totals LEFT JOIN opening ON true),
-- A difference is the bank's own where nothing else can be: all that it had booked by then was read after the balance, and
-- beside neither balance were there so many changes that some may be in it and others not.
verdict AS (
    SELECT CASE WHEN explained.is_stated THEN
                CASE WHEN chosen.ties THEN true
                     WHEN feed.verdict = 'fresh' AND feed.synced_at > beside.closes_at AND crowded.most <= 1 THEN false END
           END AS ties,
           CASE WHEN NOT explained.is_stated
                THEN 'the bank stated no balance that far back: the opening is counted back from the balance, and proves nothing'
                WHEN chosen.ties AND chosen.opening_rank + chosen.rank > 0
                THEN 'balance and entries were read at different moments: what was read beside a balance is placed where it ties'
                WHEN chosen.ties THEN NULL
                WHEN feed.verdict = 'fresh' AND feed.synced_at > beside.closes_at AND crowded.most <= 1
                THEN 'what the bank states as its balance is not the sum of what it shows as booked'
                ELSE 'unprovable: balance and entries were read at different moments, and some that are in the one may not be in the other'
           END AS reason
      FROM explained
     CROSS JOIN feed
      LEFT JOIN beside ON true
      LEFT JOIN chosen ON true
     CROSS JOIN LATERAL (
           SELECT coalesce(max(changes), 0) AS most
             FROM (SELECT count(*) AS changes FROM events
                    WHERE events.at IN (beside.opening_last, beside.opening_next, beside.last, beside.next)
                    GROUP BY events.at) AS poll) AS crowded),
page AS (
    SELECT lines.transaction_id, lines.kind, lines.day, lines.type, lines.effect_minor,
           (lines.effect_minor * explained.unit)::text AS effect, lines.known_at
      FROM lines CROSS JOIN explained
     WHERE (lines.known_at, lines.transaction_id) < (%(before_at)s::timestamptz, %(before_id)s)
     ORDER BY lines.known_at DESC, lines.transaction_id DESC
     LIMIT %(limit)s::int + 1)
SELECT EXISTS (SELECT FROM account) AS found,
       json_build_object(
           'account_id', %(account_id)s::text,
           'currency', (SELECT currency FROM account),
           'balance', (SELECT json_build_object(
                           'current_minor', current_minor, 'current', current::text, 'available_minor', available_minor,
                           'available', available::text, 'as_of', as_of, 'synced_at', synced_at) FROM shown),
           'opening', (SELECT json_build_object(
                           'source', CASE WHEN explained.is_stated THEN 'stated' ELSE 'computed' END,
                           'opening_minor', explained.opening_minor,
                           'opening', (explained.opening_minor * explained.unit)::text,
                           'from', (SELECT day FROM counted_from),
                           'as_of', opening.as_of, 'known_from', opening.known_from, 'last_seen_at', opening.last_seen_at)
                         FROM explained LEFT JOIN opening ON true),
           'entries', (SELECT coalesce(json_agg(item), '[]') FROM (SELECT * FROM page LIMIT %(limit)s::int) AS item),
           'entries_count', explained.entries_count,
           'entries_minor', explained.entries_minor,
           'entries_amount', (explained.entries_minor * explained.unit)::text,
           'explained_minor', explained.opening_minor + explained.entries_minor,
           'explained', ((explained.opening_minor + explained.entries_minor) * explained.unit)::text,
           'difference_minor', explained.current_minor - explained.opening_minor - explained.entries_minor,
           'difference', ((explained.current_minor - explained.opening_minor - explained.entries_minor) * explained.unit)::text,
           'ties', verdict.ties,
           'reason', CASE WHEN explained.unit IS NULL THEN 'the bank states no balance in this currency' ELSE verdict.reason END,
           'newer', (SELECT coalesce(json_agg(transaction_id), '[]')
                       FROM (SELECT transaction_id FROM newer ORDER BY known_at DESC, transaction_id DESC LIMIT 20) AS named),
           'newer_count', explained.newer_count,
           'newer_minor', explained.newer_minor,
           'newer_amount', (explained.newer_minor * explained.unit)::text,
           'pending', (SELECT coalesce(json_agg(named), '[]')
                         FROM (SELECT * FROM pending ORDER BY created_at DESC, transaction_id DESC LIMIT 100) AS named),
           'pending_count', explained.pending_count,
           'pending_minor', explained.pending_minor,
           'pending_amount', (explained.pending_minor * explained.unit)::text,
           'pending_out_minor', explained.pending_out_minor,
           'pending_out', (explained.pending_out_minor * explained.unit)::text,
           'available_explained_minor', explained.current_minor + explained.pending_out_minor,
           'available_explained', ((explained.current_minor + explained.pending_out_minor) * explained.unit)::text,
           'available_difference_minor',
               (SELECT available_minor FROM shown) - explained.current_minor - explained.pending_out_minor,
           'available_difference',
               (((SELECT available_minor FROM shown) - explained.current_minor - explained.pending_out_minor)
                * explained.unit)::text
       )::text AS data,
       CASE WHEN (SELECT count(*) FROM page) > %(limit)s::int
            THEN (SELECT json_build_array(known_at, transaction_id) FROM page LIMIT 1 OFFSET %(limit)s::int - 1) END::text AS next,
       row_to_json(fresh)::text AS freshness,
       extract(epoch FROM now() - fresh.synced_at)::int AS age_seconds,
       extract(epoch FROM fresh.fresh_until - now())::int AS fresh_seconds
  FROM read.freshness(ARRAY['balances', 'transactions'], ARRAY[%(account_id)s::text]) AS fresh
  LEFT JOIN explained ON true
  LEFT JOIN verdict ON true;
