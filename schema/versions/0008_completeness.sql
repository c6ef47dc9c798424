-- Completeness: covered days, posting lag, and the gate before a mass disappearance.

-- ── covered days ─────────────────────────────────────────────────────────────────────────────────────────────────────

-- One interval could only grow, and would have swallowed a gap.
ALTER TABLE sync.coverage ADD COLUMN covered datemultirange;
UPDATE sync.coverage SET covered = datemultirange(daterange(covered_from, covered_to, '[]'));
ALTER TABLE sync.coverage
    ALTER COLUMN covered SET NOT NULL,
    ADD CONSTRAINT covers_some_day CHECK (NOT isempty(covered)),
    DROP COLUMN covered_from,
    DROP COLUMN covered_to;
COMMENT ON COLUMN sync.coverage.covered IS
    'The days that some complete listing has read: terminal page, no error, committed. What lies between was never read.';

-- ── absence ──────────────────────────────────────────────────────────────────────────────────────────────────────────

-- A note is a look only once its pass came to its end undoubted. Who was noted before starts anew: that loses a look,
-- and removes nothing.
DELETE FROM sync.missing;
ALTER TABLE sync.missing
    ALTER COLUMN first_missed_at DROP NOT NULL,
    ALTER COLUMN first_missed_at DROP DEFAULT,
    ADD COLUMN breaker_id bigint;
CREATE INDEX missing_of_breaker ON sync.missing (breaker_id) WHERE breaker_id IS NOT NULL;
COMMENT ON TABLE sync.missing IS
    'Transactions that we hold and a pass over everything, or over their days, has not shown. Only two complete passes make that a removal.';
COMMENT ON COLUMN sync.missing.first_missed_at IS
    'When the first complete pass that did not show it ended. Null while that pass is under way, or if it was doubted.';
COMMENT ON COLUMN sync.missing.run_id IS 'The run that noted it.';
COMMENT ON COLUMN sync.missing.breaker_id IS
    'The breaker that keeps it in the mirror, because too much was missing with it. Accepting that breaker removes these rows and no others.';

CREATE TABLE sync.breakers (
    breaker_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id   text NOT NULL,
    account_id      text NOT NULL DEFAULT '',
    feed            text NOT NULL CHECK (feed IN ('accounts', 'balances', 'transactions')),
    opened_at       timestamptz NOT NULL DEFAULT now(),
    last_missed_at  timestamptz NOT NULL DEFAULT now(),
    run_id          bigint NOT NULL,
    absent          bigint NOT NULL CHECK (absent > 0),
    held            bigint NOT NULL CHECK (held > 0),
    sample          text[] NOT NULL,
    account_ids     text[] NOT NULL DEFAULT '{}',
    closed_at       timestamptz,
    closed_because  text CHECK (closed_because IN (
                        'shown again',  -- the bank lists so much of it that nothing is doubted any more
                        'let go'        -- somebody accepted that it is gone
                    )),
    CHECK ((closed_at IS NULL) = (closed_because IS NULL))
);
CREATE UNIQUE INDEX breakers_open ON sync.breakers (connection_id, account_id, feed) WHERE closed_at IS NULL;
COMMENT ON TABLE sync.breakers IS
    'Each time that so much of what we hold was suddenly not listed that the bank was doubted. While one is open nothing is removed and answers are partial.';
COMMENT ON COLUMN sync.breakers.account_id IS 'The target''s: empty for a feed that covers the whole connection.';
COMMENT ON COLUMN sync.breakers.absent IS 'How many are missing, by the last pass that missed them.';
COMMENT ON COLUMN sync.breakers.held IS 'How many we hold in what that pass covered.';
COMMENT ON COLUMN sync.breakers.sample IS 'A few of the missing ids, as "account transaction" or "account".';
COMMENT ON COLUMN sync.breakers.account_ids IS
    'For accounts and balances: all that are missing. For transactions sync.missing.breaker_id says which.';

CREATE TABLE sync.breaker_decisions (
    breaker_id      bigint NOT NULL REFERENCES sync.breakers,
    decided_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    decision        text NOT NULL CHECK (decision IN ('accepted', 'declined')),
    decided_by      text NOT NULL CHECK (decided_by <> ''),
    reason          text NOT NULL CHECK (reason <> ''),
    PRIMARY KEY (breaker_id, decided_at)
);
COMMENT ON TABLE sync.breaker_decisions IS
    'What people decided about a breaker, and why. The last one counts; to accept holds for 24 hours.';

-- ── the sweep ────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sync.sweeps (
    connection_id       text NOT NULL,
    account_id          text NOT NULL DEFAULT '',
    due_at              timestamptz NOT NULL DEFAULT 'infinity',
    run_id              bigint,
    cursor              text,
    next_day            date,
    noted_account_id    text,
    noted_transaction_id text,
    rows_seen           bigint NOT NULL DEFAULT 0,
    swept_at            timestamptz,
    last_error          text,
    PRIMARY KEY (connection_id, account_id),
    CHECK ((noted_account_id IS NULL) = (noted_transaction_id IS NULL))
);
COMMENT ON TABLE sync.sweeps IS
    'How far the slow second reading of everything has come, for each target of transactions. It goes on between the polls of that target.';
COMMENT ON COLUMN sync.sweeps.due_at IS 'When the next one begins.';
COMMENT ON COLUMN sync.sweeps.run_id IS 'The run in which the one under way began; null when none is.';
COMMENT ON COLUMN sync.sweeps.cursor IS 'Of a delta feed: the bank''s cursor where it goes on, null at the start.';
COMMENT ON COLUMN sync.sweeps.next_day IS 'Of a listing: the day where it goes on.';
COMMENT ON COLUMN sync.sweeps.noted_account_id IS
    'Before a long pass, what we hold is noted in steps of the key; this and the next column are the last key noted. Null when none is under way.';
COMMENT ON COLUMN sync.sweeps.rows_seen IS 'Rows that the one under way has shown.';
COMMENT ON COLUMN sync.sweeps.swept_at IS 'When everything was last read again to its end.';
COMMENT ON COLUMN sync.sweeps.last_error IS 'Why the last stretch broke off; the next poll tries again.';

-- ── posting lag ──────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sync.late_entries (
    account_id      text NOT NULL,
    transaction_id  text NOT NULL,
    booked_on       date NOT NULL,
    first_seen_at   timestamptz NOT NULL DEFAULT now(),
    lag_days        integer NOT NULL CHECK (lag_days > 0),
    PRIMARY KEY (account_id, transaction_id)
);
COMMENT ON TABLE sync.late_entries IS
    'Posted transactions that the bank showed for the first time days after their booking date, although we had looked in between.';
COMMENT ON COLUMN sync.late_entries.lag_days IS 'Days from the booking date to the last look that did not show it; it may have appeared at any time since.';

CREATE VIEW read.late_entries AS
SELECT account_id, transaction_id, booked_on, first_seen_at, lag_days FROM sync.late_entries;
COMMENT ON VIEW read.late_entries IS 'Transactions that came days after their booking date: what was said of that day before lacked them.';

-- ── quarantine ───────────────────────────────────────────────────────────────────────────────────────────────────────

ALTER TABLE sync.quarantine
    ADD COLUMN times_seen bigint NOT NULL DEFAULT 1,
    ADD COLUMN resolution text CHECK (resolution IN (
        'came well',    -- the bank shows the transaction in a form that we can read, or removed it
        'not shown',    -- a complete pass that would show it did not
        'read again',   -- today's adapter could read the bytes that were kept
        'superseded',   -- the bank told something newer of the same transaction since
        'by hand'       -- somebody answers for it
    )),
    ADD COLUMN resolved_by text,
    ADD COLUMN resolved_why text,
    ADD CONSTRAINT resolved_by_somebody CHECK (
        (resolution IS NOT DISTINCT FROM 'by hand') = (resolved_by IS NOT NULL AND resolved_why IS NOT NULL));
COMMENT ON COLUMN sync.quarantine.times_seen IS 'How often the bank has shown these very bytes.';
COMMENT ON COLUMN sync.quarantine.resolution IS 'How the doubt ended; null while it lasts, and for what ended before this was kept.';
COMMENT ON COLUMN sync.quarantine.resolved_by IS
    'Who answers for these bytes. They stay resolved when the bank shows them again; other bytes are another entry.';

-- ── how old everything is ────────────────────────────────────────────────────────────────────────────────────────────

CREATE OR REPLACE VIEW read.feeds AS
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
                    || coalesce(', but ' || relink.listed_id || ', which looks like it and is held back', '')
               ELSE format('%s of %s: not confirmed by the bank since %s', listed.feed, covers.name,
                           to_char(known.synced_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) END
           WHEN 'partial' THEN CASE
               WHEN relink.listed_id IS NOT NULL AND target.complete
               THEN format('transactions of %s: what the bank shows under %s is held back, as it looks like the same account',
                           account.account_id, relink.listed_id)
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
                          ORDER BY days LIMIT 1) END AS days) AS gap
  -- The bank lists it under a new id, perhaps: see sync.account_links.
  LEFT JOIN LATERAL (
       SELECT link.listed_id FROM sync.account_links AS link
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
 CROSS JOIN LATERAL (
       SELECT CASE WHEN target.synced_at IS NOT NULL AND (own.seen_at IS NOT NULL OR own.closed)
                   THEN least(target.synced_at, own.seen_at) END AS synced_at,
              CASE WHEN own.closed THEN target.fresh_until
                   WHEN target.synced_at IS NULL OR own.seen_at IS NULL THEN NULL
                   WHEN listed.feed = 'accounts' AND own.seen_at < target.synced_at THEN own.seen_at
                   ELSE least(target.fresh_until, own.seen_at + (target.fresh_until - target.synced_at))
              END AS fresh_until) AS known
 CROSS JOIN LATERAL (
       SELECT (CASE
                   WHEN known.synced_at IS NULL THEN 'unknown'
                   WHEN known.fresh_until < now() AND NOT (own.closed AND target.parked_reason IS NOT NULL) THEN 'stale'
                   WHEN refused.entries > 0 OR NOT target.complete OR breaker.breaker_id IS NOT NULL OR gap.days IS NOT NULL
                        OR rewritten.rows IS NOT NULL OR doubled.entries > 0
                        OR (relink.listed_id IS NOT NULL AND listed.feed = 'transactions')
                   THEN 'partial'
                   ELSE 'fresh'
               END)::read.verdict AS verdict) AS judged
 CROSS JOIN LATERAL (
       SELECT CASE WHEN target.account_id = '' AND known.synced_at IS NOT DISTINCT FROM target.synced_at
                   THEN 'connection ' || target.connection_id
                   ELSE account.account_id END AS name) AS covers;

GRANT SELECT, INSERT, UPDATE ON sync.breakers, sync.sweeps TO bankmirror_ingest;
-- A decision is only ever added to.
GRANT SELECT, INSERT ON sync.breaker_decisions TO bankmirror_ingest;
GRANT SELECT, INSERT, DELETE ON sync.late_entries TO bankmirror_ingest;
-- What was missed once is missed a second time, or joins a breaker.
GRANT UPDATE ON sync.missing TO bankmirror_ingest;
GRANT SELECT ON read.late_entries TO bankmirror_reader;
