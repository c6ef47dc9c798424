-- History: the mirror as it was known at a moment, and why a past day changed.
--
-- A version is believed from known_from until known_to, and both are the start of the transaction that stored it. One
-- that is still open may therefore store something that counts as known before now. So an answer about a moment is given
-- only once nothing can be stored any more that was known then, and from there on it never changes.

-- ── which moments are closed ─────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sync.clock (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    mark        timestamptz NOT NULL
);
COMMENT ON TABLE sync.clock IS 'The latest moment at which ingest was seen alive, to the second. It never goes back.';
COMMENT ON COLUMN sync.clock.mark IS
    'Whatever runs that begin from now on store is known from a later moment, even if the server''s clock is set back: until it has caught up, nothing is stored.';
INSERT INTO sync.clock (mark) SELECT greatest(now(), max(started_at)) FROM sync.runs;

CREATE FUNCTION sync.move_clock() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE sync.clock SET mark = greatest(mark, clock_timestamp()) RETURNING mark
$$;
COMMENT ON FUNCTION sync.move_clock IS 'Move the mark to now, unless the clock was set back.';

CREATE FUNCTION sync.run_start() RETURNS timestamptz
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT greatest(clock_timestamp(), mark + interval '1 us') FROM sync.clock
$$;
COMMENT ON FUNCTION sync.run_start IS 'When a run begins: now, or just after the mark if the clock was set back.';
-- The mark is read and not locked: whoever falls asleep while it claims must not keep all others from it.
ALTER TABLE sync.runs ALTER COLUMN started_at SET DEFAULT sync.run_start();

-- Open runs are few among very many that ended.
CREATE INDEX runs_open ON sync.runs (connection_id, started_at) WHERE outcome = 'running';

CREATE VIEW read.open_runs AS
SELECT run.connection_id, run.account_id, run.feed, run.started_at
  FROM sync.runs AS run
 WHERE run.outcome = 'running'
   -- Whoever lost the lease stores nothing any more.
   AND NOT EXISTS (
       SELECT FROM sync.targets AS target
        WHERE target.connection_id = run.connection_id AND target.account_id = run.account_id
          AND target.feed = run.feed AND target.lease_epoch > run.lease_epoch);
COMMENT ON VIEW read.open_runs IS 'Polls that are under way and may still store what was known since they began.';

CREATE VIEW read.clock AS SELECT mark FROM sync.clock;
COMMENT ON VIEW read.clock IS 'What begins from now on is stored as known after this moment.';

CREATE FUNCTION read.closed_until(account text DEFAULT NULL) RETURNS timestamptz
LANGUAGE sql STABLE AS $$
    SELECT least((SELECT mark FROM read.clock),
                 (SELECT min(run.started_at) FROM read.open_runs AS run
                   WHERE run.connection_id = ANY (ARRAY(
                         SELECT connection_id FROM read.accounts
                          WHERE account IS NULL OR account_id = account))))
$$;
COMMENT ON FUNCTION read.closed_until IS
    'Before this moment, what was known of an account (null: of all) is settled: no answer about it will ever change.';

-- ── how far a feed could be trusted at a moment ──────────────────────────────────────────────────────────────────────

CREATE TABLE sync.confirmations (
    connection_id       text NOT NULL,
    account_id          text NOT NULL,
    feed                text NOT NULL,
    known_from          timestamptz NOT NULL DEFAULT now(),
    fresh_until         timestamptz NOT NULL,
    complete            boolean NOT NULL,
    refused_accounts    text[] NOT NULL,
    PRIMARY KEY (connection_id, account_id, feed, known_from)
);
COMMENT ON TABLE sync.confirmations IS
    'Spells in which the bank confirmed a feed again before it was stale, and nothing else about its trust changed.';
COMMENT ON COLUMN sync.confirmations.account_id IS 'As in sync.targets: empty for a feed of the whole connection.';
COMMENT ON COLUMN sync.confirmations.fresh_until IS 'Grows while the spell goes on. From there to the next spell the feed was stale.';
COMMENT ON COLUMN sync.confirmations.refused_accounts IS
    'Accounts with entries in quarantine, or with entries that may be there twice; empty text where a refused entry does not say whose it is, which casts doubt on all.';

CREATE VIEW sync.doubled_entries AS
SELECT link.account_id, link.predecessor_id, link.successor_id
  FROM snapshot.transaction_links AS link
  JOIN sync.missing ON (missing.account_id, missing.transaction_id) = (link.account_id, link.predecessor_id)
 WHERE link.kind = 'rekeyed' AND link.state IN ('suggested', 'confirmed');
COMMENT ON VIEW sync.doubled_entries IS
    'Transactions that a pass has not shown, while it showed a new one that equals them: until a second look both are there, and may be one.';
-- Made and used up within two looks, so there are few.
CREATE INDEX transaction_links_doubled ON snapshot.transaction_links (account_id)
    WHERE kind = 'rekeyed' AND state IN ('suggested', 'confirmed');

CREATE FUNCTION sync.note_confirmation() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    refused text[];
    since timestamptz;
BEGIN
    refused := ARRAY(
        SELECT kept.account_id
          FROM sync.quarantine AS kept
         WHERE kept.resolved_at IS NULL
           AND kept.connection_id = NEW.connection_id
           AND kept.feed = NEW.feed
           AND (NEW.account_id = '' OR kept.account_id IN ('', NEW.account_id))
         UNION
        SELECT doubled.account_id
          FROM sync.doubled_entries AS doubled JOIN snapshot.accounts AS account USING (account_id)
         WHERE NEW.feed = 'transactions'
           AND account.connection_id = NEW.connection_id
           AND NEW.account_id IN ('', doubled.account_id)
         ORDER BY 1);
    -- The moments since a run began are open while it stores. Who stores outside a run has taken the mark last of all
    -- locks and keeps it: moments before it may be closed, and later ones cannot be.
    SELECT greatest(now(), clock.mark) INTO since FROM sync.clock AS clock WHERE clock.xmin = pg_current_xact_id()::xid;
    since := coalesce(since, now());
    UPDATE sync.confirmations AS spell
       SET fresh_until = greatest(spell.fresh_until, NEW.fresh_until)
     WHERE (spell.connection_id, spell.account_id, spell.feed) = (NEW.connection_id, NEW.account_id, NEW.feed)
       AND spell.known_from = (
           SELECT max(last.known_from) FROM sync.confirmations AS last
            WHERE (last.connection_id, last.account_id, last.feed) = (NEW.connection_id, NEW.account_id, NEW.feed))
       AND (spell.complete, spell.refused_accounts) = (NEW.complete, refused)
       -- A spell that was over stays over: somebody may have been told so.
       AND spell.fresh_until >= now();
    IF NOT FOUND THEN
        INSERT INTO sync.confirmations
               (connection_id, account_id, feed, known_from, fresh_until, complete, refused_accounts)
        VALUES (NEW.connection_id, NEW.account_id, NEW.feed, since, NEW.fresh_until, NEW.complete, refused)
        ON CONFLICT (connection_id, account_id, feed, known_from) DO UPDATE
           SET fresh_until = excluded.fresh_until, complete = excluded.complete,
               refused_accounts = excluded.refused_accounts;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync.note_confirmation IS 'Keep what a target''s state said, in the transaction that changed it.';
CREATE TRIGGER note_confirmation AFTER INSERT OR UPDATE OF synced_at, complete ON sync.targets
    FOR EACH ROW WHEN (NEW.synced_at IS NOT NULL AND NEW.fresh_until IS NOT NULL)
    EXECUTE FUNCTION sync.note_confirmation();
-- What went before this revision is not known any more; it begins with how things stand.
INSERT INTO sync.confirmations (connection_id, account_id, feed, fresh_until, complete, refused_accounts)
SELECT target.connection_id, target.account_id, target.feed, target.fresh_until, target.complete,
       ARRAY(SELECT DISTINCT kept.account_id FROM sync.quarantine AS kept
              WHERE kept.resolved_at IS NULL AND kept.connection_id = target.connection_id AND kept.feed = target.feed
                AND (target.account_id = '' OR kept.account_id IN ('', target.account_id)) ORDER BY kept.account_id)
  FROM sync.targets AS target WHERE target.synced_at IS NOT NULL AND target.fresh_until IS NOT NULL;

CREATE VIEW read.confirmations AS
SELECT account.account_id, spell.account_id = '' AS for_all, spell.feed, spell.known_from, spell.fresh_until, spell.complete,
       spell.refused_accounts && ARRAY['', account.account_id] AS refused
  FROM snapshot.accounts AS account
  JOIN sync.confirmations AS spell
    ON spell.connection_id = account.connection_id AND spell.account_id = ANY (ARRAY['', account.account_id]);
COMMENT ON VIEW read.confirmations IS 'Since when, and until when, each feed of each account could be trusted, and how far.';
COMMENT ON COLUMN read.confirmations.for_all IS 'Whether the feed was read for all accounts of the connection at once.';

CREATE FUNCTION read.freshness_at(feeds text[], moment timestamptz, accounts text[] DEFAULT NULL)
RETURNS TABLE (verdict read.verdict, synced_at timestamptz, as_of timestamptz, fresh_until timestamptz,
               reason text, remedy text, known_at timestamptz)
LANGUAGE sql STABLE AS $$
    WITH judged AS (
        SELECT account.account_id, listed.feed, best.fresh_until,
               coalesce(best.verdict, 'unknown'::read.verdict) AS verdict
          FROM read.accounts AS account
         CROSS JOIN unnest(freshness_at.feeds) AS listed (feed)
          -- A feed that changed from one for all accounts to one for each was as good as the better of the two.
          LEFT JOIN LATERAL (
               SELECT (CASE WHEN spell.fresh_until < freshness_at.moment THEN 'stale'
                            WHEN spell.refused OR NOT spell.complete THEN 'partial'
                            ELSE 'fresh' END)::read.verdict AS verdict, spell.fresh_until
                 FROM (VALUES (true), (false)) AS way (for_all)
                CROSS JOIN LATERAL (
                      SELECT * FROM read.confirmations AS one
                       WHERE one.account_id = account.account_id AND one.feed = listed.feed AND one.for_all = way.for_all
                         AND one.known_from <= freshness_at.moment
                       ORDER BY one.known_from DESC LIMIT 1) AS spell
                ORDER BY 1, 2 DESC LIMIT 1) AS best ON true
         WHERE account.first_seen_at <= freshness_at.moment
           AND account.account_id = ANY (coalesce(freshness_at.accounts, ARRAY(SELECT account_id FROM read.accounts))))
    SELECT coalesce(max(judged.verdict), 'unknown'),
           NULL::timestamptz, NULL::timestamptz, NULL::timestamptz,
           CASE WHEN count(*) = 0 THEN 'no account had been read from the bank yet'
                ELSE (array_agg(CASE judged.verdict
                    WHEN 'unknown' THEN format('%s of %s: not read from the bank yet at that moment', judged.feed, judged.account_id)
                    WHEN 'stale' THEN format('%s of %s: not confirmed by the bank at that moment; fresh until %s', judged.feed,
                        judged.account_id, to_char(judged.fresh_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
                    WHEN 'partial' THEN format('%s of %s: not known to be complete and right at that moment', judged.feed, judged.account_id)
                    END ORDER BY judged.verdict DESC, judged.account_id, judged.feed))[1] END,
           CASE coalesce(max(judged.verdict), 'unknown')
                WHEN 'unknown' THEN 'ask for a later known_at'
                WHEN 'stale' THEN 'what happened at the bank shortly before that moment may be missing; see a later known_at'
                WHEN 'partial' THEN 'do not rely on totals of that moment; see a later known_at' END,
           freshness_at.moment
      FROM judged
$$;
COMMENT ON FUNCTION read.freshness_at IS
    'The worst verdict over some feeds of some accounts (null: all that there were) as it was at a closed moment, always one row.';

-- ── what was known at a moment ───────────────────────────────────────────────────────────────────────────────────────

-- What became known after a moment. Rows of one poll share the time, so this index is packed small.
CREATE INDEX transactions_known ON snapshot.transactions (account_id, known_from);
-- A bank seldom dates an entry after we learn of it. Where it does, the entry is here; all others that were known at a
-- moment were created by then, so that a page of them begins where it should in transactions_newest.
CREATE INDEX transactions_ahead ON snapshot.transactions (account_id, created_at DESC, transaction_id DESC)
    WHERE created_at > known_from;
-- What was believed at a moment and is no more: what ended since, less what also began since.
CREATE INDEX transaction_revisions_believed ON snapshot.transaction_revisions (account_id, known_to, known_from);
CREATE INDEX balance_snapshots_as_of ON snapshot.balance_snapshots
    (account_id, currency, as_of DESC, known_from DESC);

CREATE VIEW read.transaction_past AS
SELECT entry.account_id,
       entry.transaction_id,
       entry.amount_minor,
       entry.amount_minor * currency.unit AS amount,
       entry.currency,
       entry.status,
       entry.type,
       entry.created_at,
       entry.booked_on,
       coalesce(entry.booked_on, (entry.created_at AT TIME ZONE 'UTC')::date) AS day,
       entry.counterparty_account_id,
       entry.client_reference,
       entry.pending_transaction_id,
       read.shown(entry.description) AS description,
       read.shown(entry.counterparty_name) AS counterparty_name,
       entry.known_from,
       entry.known_to,
       entry.ended_by,
       entry.successor_id
  FROM snapshot.transaction_revisions AS entry
  JOIN snapshot.currencies AS currency USING (currency);
COMMENT ON VIEW read.transaction_past IS
    'Versions of transactions that are believed no more, with all columns of read.transactions.';

CREATE VIEW read.daily_totals AS
SELECT account_id, booked_on, currency, in_minor, out_minor, entries FROM snapshot.daily_totals;
COMMENT ON VIEW read.daily_totals IS 'Posted money in and out by account and booking date, now, without the wait for a refresh.';

CREATE FUNCTION read.totals_at(moment timestamptz, accounts text[], first_day date, last_day date)
RETURNS TABLE (account_id text, booked_on date, currency text, in_minor numeric, out_minor numeric, entries numeric)
LANGUAGE sql STABLE AS $$
    -- Today's totals, less what came since, plus what has gone since: costs by changes and not by transactions.
    SELECT moved.account_id, moved.booked_on, moved.currency, sum(moved.in_minor), sum(moved.out_minor), sum(moved.entries)
      FROM (SELECT total.account_id, total.booked_on, total.currency, total.in_minor, total.out_minor, total.entries::numeric
              FROM read.daily_totals AS total
             WHERE total.account_id = ANY (totals_at.accounts)
               AND total.booked_on BETWEEN totals_at.first_day AND totals_at.last_day
            UNION ALL
            SELECT came.account_id, came.booked_on, came.currency,
                   -greatest(came.amount_minor, 0), -least(came.amount_minor, 0), -1
              FROM read.transactions AS came
             WHERE came.account_id = ANY (totals_at.accounts) AND came.known_from > totals_at.moment
               AND came.status = 'posted' AND came.booked_on BETWEEN totals_at.first_day AND totals_at.last_day
            UNION ALL
            SELECT gone.account_id, gone.booked_on, gone.currency,
                   greatest(gone.amount_minor, 0), least(gone.amount_minor, 0), 1
              FROM read.transaction_past AS gone
             WHERE gone.account_id = ANY (totals_at.accounts)
               AND gone.known_to > totals_at.moment AND gone.known_from <= totals_at.moment
               AND gone.status = 'posted' AND gone.booked_on BETWEEN totals_at.first_day AND totals_at.last_day) AS moved
     GROUP BY moved.account_id, moved.booked_on, moved.currency
    HAVING sum(moved.entries) <> 0 OR sum(moved.in_minor) <> 0 OR sum(moved.out_minor) <> 0
$$;
COMMENT ON FUNCTION read.totals_at IS 'Posted money in and out by account and booking date, as it was known at a closed moment.';

-- ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────

GRANT EXECUTE ON FUNCTION sync.move_clock, sync.run_start TO bankmirror_ingest;
GRANT SELECT ON sync.clock TO bankmirror_ingest;
GRANT SELECT ON read.open_runs, read.clock, read.confirmations, read.transaction_past, read.daily_totals TO bankmirror_reader;
GRANT EXECUTE ON FUNCTION read.closed_until, read.freshness_at, read.totals_at TO bankmirror_reader;
