-- What is asked needs: indexes, and keys without rows.

-- ── what changed ─────────────────────────────────────────────────────────────────────────────────────────────────────

-- Whoever follows the changes asks every account for what came and went since, and the answer is mostly nothing. Here are the
-- keys alone, straight off the indexes: the views that show the rows join each with its currency.
CREATE VIEW read.transaction_keys AS
    SELECT whole.account_id, whole.transaction_id, whole.known_from
      FROM snapshot.transactions AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.transaction_keys IS 'The keys of read.transactions, and since when each version is believed.';

CREATE VIEW read.transaction_past_keys AS
    SELECT whole.account_id, whole.transaction_id, whole.known_from, whole.known_to, whole.ended_by, whole.successor_id
      FROM snapshot.transaction_revisions AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.transaction_past_keys IS 'The keys of read.transaction_past, and how each version ended.';

CREATE VIEW read.balance_keys AS
    SELECT whole.account_id, whole.currency
      FROM snapshot.balances AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.balance_keys IS 'The keys of read.balances.';

CREATE VIEW read.balance_history_keys AS
    SELECT whole.account_id, whole.currency, whole.as_of, whole.known_from
      FROM snapshot.balance_snapshots AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.balance_history_keys IS 'The keys of read.balance_history, and the bank''s time of each.';

GRANT SELECT ON read.transaction_keys, read.transaction_past_keys, read.balance_keys, read.balance_history_keys
    TO bankmirror_reader;

-- ── views that cost less to read ───────────────────────────────────────────────────────────────────────────────────────

-- What they show is the same. Reasons and remedies speak of the verdict again and again, and it of what is known: written out
-- in each place, that took longer to plan, and to make ready for execution, than to find out.
CREATE OR REPLACE VIEW model.feeds AS
SELECT account.account_id,
       listed.feed,
       judged.verdict,
       known.synced_at,
       -- What the last answer did not confirm is as old as itself.
       CASE WHEN known.synced_at = target.synced_at THEN target.bank_as_of
            WHEN listed.feed = 'balances' THEN stated.as_of END AS as_of,
       known.fresh_until,
       coalesce(target.complete, false) AS complete,
       refused.entries AS entries_refused,
       CASE judged.verdict
           WHEN 'unknown' THEN CASE
               WHEN target.synced_at IS NULL THEN format('%s of %s: not read from the bank yet', listed.feed, covers.name)
               WHEN refused.entries > 0 THEN format('balances of %s: the bank states no balance that could be read', covers.name)
               ELSE format('balances of %s: the bank states no balance', covers.name) END
           WHEN 'stale' THEN CASE
               WHEN listed.feed = 'accounts' AND own.seen_at < target.synced_at AND refused.entries = 0
               THEN format('accounts of %s: the bank does not list it any more', covers.name)
                    || coalesce(', but ' || relink.shown_id || ', which looks like it and is held back', '')
               ELSE format('%s of %s: not confirmed by the bank since %s', listed.feed, covers.name,
                           to_char(known.synced_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) END
           WHEN 'partial' THEN CASE
               WHEN relink.listed_id IS NOT NULL AND target.complete
               THEN format('transactions of %s: what the bank shows under %s is held back, as it looks like the same account',
                           account.account_id, relink.shown_id)
               WHEN rewritten.rows IS NOT NULL AND target.complete
               THEN format('transactions of %s: an answer was refused, as it changed amount, day and text of %s booked entries',
                           covers.name, rewritten.rows)
               WHEN breaker.breaker_id IS NOT NULL
               THEN format('%s of %s: %s of %s are not listed by the bank any more, and none was removed',
                           listed.feed, coalesce(nullif(breaker.account_id, ''), 'connection ' || target.connection_id),
                           breaker.absent, breaker.held)
               WHEN refused.entries > 0 AND target.complete
               THEN format('%s of %s: %s entries of the bank could not be read', listed.feed, covers.name, refused.entries)
               WHEN doubled.entries > 0 AND target.complete
               THEN format('transactions of %s: %s may be there twice, under a former id that the bank did not show last time',
                           account.account_id, doubled.entries)
               WHEN gap.days IS NOT NULL AND target.complete
               THEN format('transactions of %s: the days from %s to %s were never read',
                           covers.name, lower(gap.days), upper(gap.days) - 1)
               WHEN listed.feed = 'transactions'
               THEN format('transactions of %s: the history is still being loaded', covers.name)
               ELSE format('%s of %s: the bank did not list all of them', listed.feed, covers.name) END
       END || coalesce(' (' || read.shown(coalesce(target.parked_reason, target.last_error)) || ')', '') AS reason,
       CASE judged.verdict
           WHEN 'unknown' THEN CASE
               WHEN target.synced_at IS NULL THEN 'wait for the first poll; bankmirror status shows its progress'
               ELSE 'do not take it for zero; ask the bank' END
           WHEN 'stale' THEN CASE
               WHEN relink.listed_id IS NOT NULL
               THEN 'say whether it is the same account: `bankmirror identity list` names the link to confirm or reject'
               WHEN rewritten.rows IS NOT NULL
               THEN 'treat amounts as of synced_at; `bankmirror identity list` shows the feed, `bankmirror identity accept-changes` takes its changes'
               WHEN breaker.breaker_id IS NOT NULL
               THEN format('treat amounts as of synced_at; `bankmirror breaker list` shows what is missing, and `bankmirror breaker accept %s` lets it go',
                           breaker.breaker_id)
               ELSE 'treat amounts as of synced_at; bankmirror doctor names what is wrong' END
           WHEN 'partial' THEN CASE
               WHEN relink.listed_id IS NOT NULL AND target.complete
               THEN 'say whether it is the same account: `bankmirror identity list` names the link to confirm or reject'
               WHEN rewritten.rows IS NOT NULL AND target.complete
               THEN 'do not rely on totals; `bankmirror identity list` shows the feed, `bankmirror identity accept-changes` takes its changes'
               WHEN breaker.breaker_id IS NOT NULL
               THEN format('do not rely on totals; `bankmirror breaker list` shows what is missing, and `bankmirror breaker accept %s` lets it go',
                           breaker.breaker_id)
               WHEN refused.entries > 0 AND target.complete
               THEN 'do not rely on totals; `bankmirror quarantine list` shows the refused entries'
               WHEN doubled.entries > 0 AND target.complete
               THEN 'do not rely on totals until the bank was read once more; `bankmirror identity list` shows which'
               WHEN gap.days IS NOT NULL AND target.complete THEN 'do not rely on totals of these days; the next listing reads them'
               WHEN listed.feed = 'transactions'
               THEN 'do not rely on totals until the history is loaded; bankmirror status shows its progress'
               ELSE 'do not rely on totals; bankmirror doctor names what is wrong' END
       END AS remedy
  FROM snapshot.accounts AS account
 CROSS JOIN (VALUES ('accounts'), ('balances'), ('transactions')) AS listed (feed)
  -- An account whose feed nobody polls is unknown, and not left out. (= ANY can use the key, where IN would be an OR.)
  LEFT JOIN sync.targets AS target
    ON target.connection_id = account.connection_id
   AND target.account_id = ANY (ARRAY['', account.account_id])
   AND target.feed = listed.feed
   AND target.in_use
 CROSS JOIN LATERAL (
       SELECT count(*) AS entries
         FROM sync.quarantine AS kept
        -- Nearly always there is none; asked once, that spares the search for each account.
        WHERE EXISTS (SELECT FROM sync.quarantine WHERE resolved_at IS NULL)
          AND kept.connection_id = account.connection_id
          AND kept.account_id = ANY (ARRAY['', account.account_id])
          AND kept.feed = listed.feed
          AND kept.resolved_at IS NULL) AS refused
  LEFT JOIN LATERAL (
       SELECT breaker.breaker_id, breaker.account_id, breaker.absent, breaker.held
         FROM sync.breakers AS breaker
        -- As above: nearly always none is open.
        WHERE EXISTS (SELECT FROM sync.breakers WHERE closed_at IS NULL)
          AND breaker.connection_id = account.connection_id
          AND breaker.account_id = ANY (ARRAY['', account.account_id])
          AND breaker.feed = listed.feed
          AND breaker.closed_at IS NULL
          -- An account that was not listed for long is stale itself, and says nothing about the others.
          AND (listed.feed = 'transactions' OR NOT target.complete)
        LIMIT 1) AS breaker ON true
  -- A poll or a sweep refused what the bank shows, and the mirror is known to differ.
  LEFT JOIN LATERAL (
       SELECT flag.rows_rewritten AS rows
         FROM sync.positional_ids AS flag
        WHERE listed.feed = 'transactions' AND flag.closed_at IS NULL
          AND (flag.connection_id, flag.account_id) = (target.connection_id, target.account_id)) AS rewritten ON true
 CROSS JOIN LATERAL (
       SELECT count(*) AS entries
         FROM sync.doubled_entries AS twice
        -- As above: nearly always there is none.
        WHERE EXISTS (SELECT FROM snapshot.transaction_links
                       WHERE kind = 'rekeyed' AND state IN ('suggested', 'confirmed'))
          AND listed.feed = 'transactions' AND twice.account_id = account.account_id) AS doubled
  -- Where an account is listed by days, a day that no listing has read is a gap.
  LEFT JOIN sync.coverage
    ON listed.feed = 'transactions' AND coverage.account_id = target.account_id
 CROSS JOIN LATERAL (
       SELECT CASE WHEN NOT coverage.covered @> daterange('1970-01-01', upper(coverage.covered))
                   THEN (SELECT days FROM unnest(datemultirange(daterange('1970-01-01', upper(coverage.covered)))
                                                 - coverage.covered) AS days
                          ORDER BY days LIMIT 1) END AS days
        OFFSET 0) AS gap
  -- The bank lists it under a new id, perhaps: see sync.account_links. That is an account's id, which only who may see it is told.
  LEFT JOIN LATERAL (
       SELECT link.listed_id,
              CASE WHEN (SELECT read.sees_all()) OR link.listed_id = ANY ((SELECT read.my_accounts())::text[])
                   THEN link.listed_id ELSE 'another account' END AS shown_id
         FROM sync.account_links AS link
        WHERE link.account_id = account.account_id AND link.state = 'suggested') AS relink ON true
 CROSS JOIN LATERAL (
       SELECT min(balance.synced_at) AS seen_at, min(balance.as_of) AS as_of
         FROM snapshot.balances AS balance
        WHERE listed.feed = 'balances' AND balance.account_id = account.account_id) AS stated
  -- A complete listing confirms only what it shows, so an account and its balance are as old as themselves.
 CROSS JOIN LATERAL (
       SELECT account.status = 'closed' AS closed,
              CASE listed.feed WHEN 'accounts' THEN account.last_seen_at
                               WHEN 'balances' THEN stated.seen_at
                               ELSE target.synced_at END AS seen_at) AS own
  -- A closed account has its last word said: the bank may list it and its balance no more, and need not be asked again.
  -- OFFSET 0 here and below: computed once, where the planner would write it out wherever it is spoken of, sixty times.
 CROSS JOIN LATERAL (
       SELECT CASE WHEN target.synced_at IS NOT NULL AND (own.seen_at IS NOT NULL OR own.closed)
                   THEN least(target.synced_at, own.seen_at) END AS synced_at,
              CASE WHEN own.closed THEN target.fresh_until
                   WHEN target.synced_at IS NULL OR own.seen_at IS NULL THEN NULL
                   WHEN listed.feed = 'accounts' AND own.seen_at < target.synced_at THEN own.seen_at
                   ELSE least(target.fresh_until, own.seen_at + (target.fresh_until - target.synced_at))
              END AS fresh_until
        OFFSET 0) AS known
 CROSS JOIN LATERAL (
       SELECT (CASE
                   WHEN known.synced_at IS NULL THEN 'unknown'
                   WHEN known.fresh_until < now() AND NOT (own.closed AND target.parked_reason IS NOT NULL) THEN 'stale'
                   WHEN refused.entries > 0 OR NOT target.complete OR breaker.breaker_id IS NOT NULL OR gap.days IS NOT NULL
                        OR rewritten.rows IS NOT NULL OR doubled.entries > 0
                        OR (relink.listed_id IS NOT NULL AND listed.feed = 'transactions')
                   THEN 'partial'
                   ELSE 'fresh'
               END)::read.verdict AS verdict
        OFFSET 0) AS judged
 CROSS JOIN LATERAL (
       SELECT CASE WHEN target.account_id = '' AND known.synced_at IS NOT DISTINCT FROM target.synced_at
                   THEN 'connection ' || target.connection_id
                   ELSE account.account_id END AS name) AS covers;

-- As it was, but that the reason says of how many more feeds the same verdict holds: when nothing is polled any more, the one
-- that is named is not what is wrong.
CREATE OR REPLACE FUNCTION read.freshness(feeds text[], accounts text[] DEFAULT NULL)
RETURNS TABLE (verdict read.verdict, synced_at timestamptz, as_of timestamptz, fresh_until timestamptz, reason text, remedy text)
LANGUAGE sql STABLE AS $$
    SELECT worst.verdict, worst.synced_at, worst.as_of, worst.fresh_until,
           worst.reason || CASE worst.feeds WHEN 0 THEN '' WHEN 1 THEN '' WHEN 2 THEN ' (and 1 more feed)'
                                            ELSE format(' (and %s more feeds)', worst.feeds - 1) END,
           worst.remedy
      FROM (SELECT coalesce(max(feed.verdict), 'unknown') AS verdict,
                   CASE WHEN bool_and(feed.synced_at IS NOT NULL) THEN min(feed.synced_at) END AS synced_at,
                   CASE WHEN bool_and(feed.as_of IS NOT NULL) THEN min(feed.as_of) END AS as_of,
                   CASE WHEN bool_and(feed.fresh_until IS NOT NULL) THEN min(feed.fresh_until) END AS fresh_until,
                   CASE WHEN count(*) = 0 THEN 'no account has been read from the bank yet'
                        ELSE (array_agg(feed.reason ORDER BY feed.verdict DESC, feed.synced_at NULLS FIRST))[1] END AS reason,
                   CASE WHEN count(*) = 0 THEN 'wait for the first poll; bankmirror status shows its progress'
                        ELSE (array_agg(feed.remedy ORDER BY feed.verdict DESC, feed.synced_at NULLS FIRST))[1] END AS remedy,
                   CASE max(feed.verdict) WHEN 'unknown' THEN count(*) FILTER (WHERE feed.verdict = 'unknown')
                                          WHEN 'stale' THEN count(*) FILTER (WHERE feed.verdict = 'stale')
                                          WHEN 'partial' THEN count(*) FILTER (WHERE feed.verdict = 'partial')
                                          ELSE 0 END AS feeds
              FROM read.feeds AS feed
             WHERE feed.feed = ANY (freshness.feeds)
               -- Not "accounts IS NULL OR …": a prepared statement could not use the key then, and would read every account.
               AND feed.account_id = ANY (coalesce(freshness.accounts, ARRAY(SELECT account_id FROM read.accounts)))) AS worst
$$;

-- LEFT, though every currency is there: so the join is left out where no amount in major units is asked for, as in the sums
-- of /banking/cash-flow over all accounts, which it made ten times slower.
CREATE OR REPLACE VIEW model.daily_cash_flow AS
SELECT flow.account_id,
       flow.booked_on,
       flow.currency,
       flow.in_minor,
       flow.in_minor * currency.unit AS "in",
       flow.out_minor,
       flow.out_minor * currency.unit AS out,
       flow.net_minor,
       flow.net_minor * currency.unit AS net,
       flow.running_net_minor,
       flow.running_net_minor * currency.unit AS running_net,
       flow.entries
  FROM read.daily_cash_flow_stored AS flow
  LEFT JOIN snapshot.currencies AS currency USING (currency);

-- Every view asks once a query whose sight it has, so a query asks half a dozen times. A function whose body looks into a
-- table is a query of its own each time; one that does not is written out where it is called, and costs nothing.
CREATE FUNCTION read.works_on_all() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT current_user IN ('bankmirror_ingest', 'bankmirror_transfers')
        OR pg_has_role(current_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'read'), 'MEMBER')
$$;
COMMENT ON FUNCTION read.works_on_all IS 'Whether the role works on all accounts, and sees them whatever its transaction says.';
GRANT EXECUTE ON FUNCTION read.works_on_all
    TO bankmirror_reader, bankmirror_ingest, bankmirror_transfers, bankmirror_access;

CREATE OR REPLACE FUNCTION read.sees_all() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('bankmirror.accounts', true) = '*', false)
        OR current_user <> 'bankmirror_reader' AND read.works_on_all()
$$;

CREATE OR REPLACE FUNCTION read.sees_memos() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('bankmirror.memo', true) = 'on', false)
        OR current_user <> 'bankmirror_reader' AND read.works_on_all()
$$;
