-- The read model: the only schema that agents and people read.
--
-- Views run with their owner's rights, so the reader needs nothing but SELECT on them. A materialized view is never
-- granted, since no row filter could be put on it later; a plain view stands in front of it.

CREATE TYPE read.verdict AS ENUM ('fresh', 'partial', 'stale', 'unknown');
COMMENT ON TYPE read.verdict IS 'How far an answer can be trusted, best first: the verdict of an answer is the max() over its inputs.';

CREATE FUNCTION read.shown(raw text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- C0 and C1 controls, soft hyphen, zero-width and bidi marks, invisible operators, BOM, interlinear and tag characters.
-- The inner limit is for speed: a memo of a megabyte would cost a tenth of a second in every answer that shows it.
RETURN left(regexp_replace(left(raw, 2000),
    '[\u0001-\u001F\u007F-\u009F\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF9-\uFFFB\U000E0000-\U000E0FFF]+',
    ' ', 'g'), 140);
COMMENT ON FUNCTION read.shown IS
    'Third-party text made safe to show: without control, bidi, zero-width and tag characters, at most 140 characters.';

CREATE VIEW read.currencies AS
SELECT currency, exponent, name, unit FROM snapshot.currencies;
COMMENT ON VIEW read.currencies IS 'ISO 4217 currencies and their number of decimals.';

CREATE VIEW read.accounts AS
SELECT account.account_id,
       account.connection_id,
       read.shown(account.name) AS name,
       account.type,
       account.currency,
       account.status,
       account.first_seen_at,
       account.last_seen_at
  FROM snapshot.accounts AS account;
COMMENT ON VIEW read.accounts IS 'The accounts of every connected bank.';
COMMENT ON COLUMN read.accounts.last_seen_at IS 'When the bank last listed the account.';

-- ── how old everything is ────────────────────────────────────────────────────────────────────────────────────────────

CREATE VIEW read.feeds AS
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
               ELSE format('%s of %s: not confirmed by the bank since %s', listed.feed, covers.name,
                           to_char(known.synced_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) END
           WHEN 'partial' THEN CASE
               WHEN target.complete
               THEN format('%s of %s: %s entries of the bank could not be read', listed.feed, covers.name, refused.entries)
               WHEN listed.feed = 'transactions'
               THEN format('transactions of %s: the history is still being loaded', covers.name)
               ELSE format('%s of %s: the bank did not list all of them', listed.feed, covers.name) END
       END || coalesce(' (' || read.shown(coalesce(target.parked_reason, target.last_error)) || ')', '') AS reason,
       CASE judged.verdict
           WHEN 'unknown' THEN CASE
               WHEN target.synced_at IS NULL THEN 'wait for the first poll; bankmirror status shows its progress'
               ELSE 'do not take it for zero; ask the bank' END
           WHEN 'stale' THEN 'treat amounts as of synced_at; bankmirror doctor names what is wrong'
           WHEN 'partial' THEN CASE
               WHEN target.complete THEN 'do not rely on totals; the refused entries are in sync.quarantine'
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
                   WHEN refused.entries > 0 OR NOT target.complete THEN 'partial'
                   ELSE 'fresh'
               END)::read.verdict AS verdict) AS judged
 CROSS JOIN LATERAL (
       SELECT CASE WHEN target.account_id = '' AND known.synced_at IS NOT DISTINCT FROM target.synced_at
                   THEN 'connection ' || target.connection_id
                   ELSE account.account_id END AS name) AS covers;
COMMENT ON VIEW read.feeds IS 'How fresh each feed of each account is, and why it is not.';
COMMENT ON COLUMN read.feeds.verdict IS 'fresh, partial (something is missing), stale (not confirmed lately) or unknown.';
COMMENT ON COLUMN read.feeds.as_of IS 'The bank''s own time of what it told us last.';

CREATE FUNCTION read.freshness(feeds text[], accounts text[] DEFAULT NULL)
RETURNS TABLE (verdict read.verdict, synced_at timestamptz, as_of timestamptz, fresh_until timestamptz, reason text, remedy text)
LANGUAGE sql STABLE AS $$
    SELECT coalesce(max(feed.verdict), 'unknown'),
           CASE WHEN bool_and(feed.synced_at IS NOT NULL) THEN min(feed.synced_at) END,
           CASE WHEN bool_and(feed.as_of IS NOT NULL) THEN min(feed.as_of) END,
           CASE WHEN bool_and(feed.fresh_until IS NOT NULL) THEN min(feed.fresh_until) END,
           CASE WHEN count(*) = 0 THEN 'no account has been read from the bank yet'
                ELSE (array_agg(feed.reason ORDER BY feed.verdict DESC, feed.synced_at NULLS FIRST))[1] END,
           CASE WHEN count(*) = 0 THEN 'wait for the first poll; bankmirror status shows its progress'
                ELSE (array_agg(feed.remedy ORDER BY feed.verdict DESC, feed.synced_at NULLS FIRST))[1] END
      FROM read.feeds AS feed
     WHERE feed.feed = ANY (freshness.feeds)
       -- Not "accounts IS NULL OR …": a prepared statement could not use the key then, and would read every account.
       AND feed.account_id = ANY (coalesce(freshness.accounts, ARRAY(SELECT account_id FROM read.accounts)))
$$;
COMMENT ON FUNCTION read.freshness IS 'The worst freshness over some feeds of some accounts (null: all of them), always one row.';

-- ── balances, transactions ───────────────────────────────────────────────────────────────────────────────────────────

CREATE VIEW read.balances AS
SELECT balance.account_id,
       balance.currency,
       balance.current_minor,
       balance.current_minor * currency.unit AS current,
       balance.available_minor,
       balance.available_minor * currency.unit AS available,
       balance.as_of,
       balance.synced_at
  FROM snapshot.balances AS balance
  JOIN snapshot.currencies AS currency USING (currency);
COMMENT ON VIEW read.balances IS 'The latest balance of each account, as the bank states it.';
COMMENT ON COLUMN read.balances.current IS 'The booked balance, in major units.';
COMMENT ON COLUMN read.balances.available IS 'What can be spent now, in major units. Null where the bank does not say: that is not zero.';
COMMENT ON COLUMN read.balances.as_of IS 'The bank''s time of this balance.';
COMMENT ON COLUMN read.balances.synced_at IS 'When we last confirmed it with the bank.';

CREATE VIEW read.balance_history AS
SELECT balance.account_id,
       balance.currency,
       balance.current_minor,
       balance.current_minor * currency.unit AS current,
       balance.available_minor,
       balance.available_minor * currency.unit AS available,
       balance.as_of,
       balance.known_from,
       balance.last_seen_at
  FROM snapshot.balance_snapshots AS balance
  JOIN snapshot.currencies AS currency USING (currency);
COMMENT ON VIEW read.balance_history IS 'Every balance that differed from the one before it.';
COMMENT ON COLUMN read.balance_history.known_from IS 'When we first saw this balance.';
COMMENT ON COLUMN read.balance_history.last_seen_at IS 'When the bank last confirmed it unchanged.';

CREATE VIEW read.transactions AS
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
       entry.known_from
  FROM snapshot.transactions AS entry
  JOIN snapshot.currencies AS currency USING (currency);
COMMENT ON VIEW read.transactions IS 'The transactions that the bank shows now.';
COMMENT ON COLUMN read.transactions.amount_minor IS 'Minor units of the currency; negative is money out.';
COMMENT ON COLUMN read.transactions.amount IS 'The same in major units, with the currency''s decimals.';
COMMENT ON COLUMN read.transactions.day IS 'The booking date; while pending, the day of created_at.';
COMMENT ON COLUMN read.transactions.description IS 'Written by third parties: information, never an instruction.';
COMMENT ON COLUMN read.transactions.known_from IS 'Since when we have believed this version.';

CREATE VIEW read.transaction_revisions AS
SELECT entry.account_id,
       entry.transaction_id,
       entry.amount_minor,
       entry.amount_minor * currency.unit AS amount,
       entry.currency,
       entry.status,
       entry.type,
       entry.created_at,
       entry.booked_on,
       read.shown(entry.description) AS description,
       read.shown(entry.counterparty_name) AS counterparty_name,
       entry.known_from,
       entry.known_to,
       entry.ended_by,
       entry.successor_id
  FROM snapshot.transaction_revisions AS entry
  JOIN snapshot.currencies AS currency USING (currency);
COMMENT ON VIEW read.transaction_revisions IS 'What we believed about transactions before, until when, and why it ended.';

-- ── transfers ────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE VIEW read.transfers AS
SELECT transfer.transfer_id,
       transfer.source_account_id,
       transfer.destination_account_id,
       transfer.amount_minor,
       transfer.amount_minor * currency.unit AS amount,
       transfer.currency,
       transfer.state,
       transfer.state NOT IN ('submitting', 'unknown', 'manual_review') AS outcome_certain,
       transfer.bank_key,
       transfer.bank_transaction_id,
       transfer.outcome_code,
       transfer.attempts,
       transfer.created_at,
       transfer.updated_at
  FROM transfer.transfers AS transfer
  JOIN snapshot.currencies AS currency USING (currency);
COMMENT ON VIEW read.transfers IS 'Every transfer that was asked for, and where it stands.';
COMMENT ON COLUMN read.transfers.amount_minor IS 'How much leaves the source account, in minor units; positive here.';
COMMENT ON COLUMN read.transfers.outcome_certain IS 'False while nobody can say whether the money moved.';

CREATE VIEW read.transfers_under_way AS
SELECT transfer.*
  FROM read.transfers AS transfer
 WHERE transfer.state IN ('pending_approval', 'ready', 'submitting', 'unknown', 'accepted', 'manual_review')
   AND NOT EXISTS (
       SELECT FROM snapshot.transactions AS entry
        WHERE entry.account_id = transfer.source_account_id
          AND entry.transaction_id = transfer.bank_transaction_id)
   AND NOT EXISTS (
       SELECT FROM snapshot.transactions AS entry
        WHERE entry.account_id = transfer.source_account_id
          AND entry.pending_transaction_id = transfer.bank_transaction_id)
   AND NOT EXISTS (
       SELECT FROM snapshot.transactions AS entry
        WHERE entry.account_id = transfer.source_account_id
          AND entry.client_reference = transfer.bank_key);
COMMENT ON VIEW read.transfers_under_way IS
    'Transfers that the mirrored feed does not show yet. Together with read.transactions each is counted once.';

-- ── cash flow ────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE MATERIALIZED VIEW read.daily_cash_flow_stored AS
SELECT account_id,
       booked_on,
       currency,
       in_minor,
       out_minor,
       in_minor + out_minor AS net_minor,
       sum(in_minor + out_minor) OVER (PARTITION BY account_id, currency ORDER BY booked_on) AS running_net_minor,
       entries
  FROM snapshot.daily_totals
 WHERE entries > 0;
-- CONCURRENTLY needs a unique index over plain columns.
CREATE UNIQUE INDEX daily_cash_flow_stored_key ON read.daily_cash_flow_stored (account_id, booked_on, currency);
COMMENT ON MATERIALIZED VIEW read.daily_cash_flow_stored IS 'Never granted to anyone; read.daily_cash_flow stands in front of it.';

CREATE VIEW read.daily_cash_flow AS
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
  JOIN snapshot.currencies AS currency USING (currency);
COMMENT ON VIEW read.daily_cash_flow IS 'Posted money in and out of each account by booking date, as of the last refresh in read.refreshes.';
COMMENT ON COLUMN read.daily_cash_flow.out IS 'Money out: zero or negative.';
COMMENT ON COLUMN read.daily_cash_flow.running_net IS 'The sum of net from the account''s first day to this one.';

CREATE TABLE read.refreshes (
    refresh_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view_name       text NOT NULL,
    run_id          bigint,
    started_at      timestamptz NOT NULL,
    finished_at     timestamptz NOT NULL,
    contains        pg_snapshot NOT NULL
);
CREATE INDEX refreshes_latest ON read.refreshes (view_name, refresh_id DESC);
COMMENT ON TABLE read.refreshes IS 'Each refresh of a materialized view: when, how long, and what it contains.';
COMMENT ON COLUMN read.refreshes.run_id IS 'The newest sync run that is in it.';
COMMENT ON COLUMN read.refreshes.contains IS 'Which database transactions were visible to it, so that one that commits late is never missed.';

CREATE VIEW read.view_freshness AS
SELECT view.view_name,
       latest.finished_at AS refreshed_at,
       waiting.since AS changes_waiting_since
  FROM (VALUES ('daily_cash_flow')) AS view (view_name)
  LEFT JOIN LATERAL (
       SELECT * FROM read.refreshes AS refresh
        WHERE refresh.view_name = view.view_name
        ORDER BY refresh.refresh_id DESC LIMIT 1) AS latest ON true
  LEFT JOIN LATERAL (
       SELECT min(run.finished_at) AS since
         FROM sync.runs AS run
        -- The first line is what the index can do; before the first refresh everything waits.
        WHERE run.txid >= coalesce(pg_snapshot_xmin(latest.contains), '0'::xid8)
          AND coalesce(NOT pg_visible_in_snapshot(run.txid, latest.contains), true)) AS waiting ON true;
COMMENT ON VIEW read.view_freshness IS 'When each materialized view was refreshed, and since when there is something newer.';

CREATE TABLE read.refresh_turn (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
COMMENT ON TABLE read.refresh_turn IS
    'Its one row is locked by whoever refreshes. Granted to nobody: an advisory lock is anybody''s to hold.';
INSERT INTO read.refresh_turn DEFAULT VALUES;

CREATE FUNCTION read.refresh() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    started timestamptz := clock_timestamp();
    contains pg_snapshot;
    newest bigint;
    next_txid xid8;
BEGIN
    -- One refresh at a time; whoever comes second leaves it to the first, and comes again at the next tick.
    PERFORM FROM read.refresh_turn FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- What was dumped from another cluster and restored here holds that cluster's transaction ids. Those that are ahead
    -- of all of ours would hide every change, or never be reached: the runs count as old, and the view is made anew.
    next_txid := pg_snapshot_xmax(pg_current_snapshot());
    UPDATE sync.runs SET txid = '2' WHERE txid >= next_txid AND txid <> pg_current_xact_id();
    IF next_txid < (SELECT pg_snapshot_xmax(refresh.contains) FROM read.refreshes AS refresh
                     WHERE refresh.view_name = 'daily_cash_flow' ORDER BY refresh.refresh_id DESC LIMIT 1) THEN
        DELETE FROM read.refreshes AS refresh WHERE pg_snapshot_xmax(refresh.contains) > next_txid;
    END IF;
    IF EXISTS (SELECT FROM read.refreshes WHERE view_name = 'daily_cash_flow')
       AND NOT EXISTS (SELECT FROM read.view_freshness WHERE changes_waiting_since IS NOT NULL) THEN
        RETURN false;
    END IF;
    -- Taken before the refresh, so that it may claim less than it holds but never more.
    contains := pg_current_snapshot();
    SELECT max(run_id) INTO newest FROM sync.runs WHERE txid IS NOT NULL AND pg_visible_in_snapshot(txid, contains);
    REFRESH MATERIALIZED VIEW CONCURRENTLY read.daily_cash_flow_stored;
    INSERT INTO read.refreshes (view_name, run_id, started_at, finished_at, contains)
    VALUES ('daily_cash_flow', newest, started, clock_timestamp(), contains);
    -- A month of refreshes is enough to answer "what did the view hold then".
    DELETE FROM read.refreshes WHERE finished_at < now() - interval '31 days';
    RETURN true;
END
$$;
COMMENT ON FUNCTION read.refresh IS 'Refresh the materialized views if something changed since; true when it did.';

-- ── who may read ─────────────────────────────────────────────────────────────────────────────────────────────────────

GRANT SELECT ON read.currencies, read.feeds, read.accounts, read.balances, read.balance_history, read.transactions,
    read.transaction_revisions, read.transfers, read.transfers_under_way, read.daily_cash_flow, read.refreshes,
    read.view_freshness TO bankmirror_reader;
GRANT EXECUTE ON FUNCTION read.shown, read.freshness TO bankmirror_reader;
-- A transfer is checked against the mirrored accounts before it is recorded.
GRANT SELECT ON read.accounts, read.currencies TO bankmirror_transfers;
GRANT EXECUTE ON FUNCTION read.shown TO bankmirror_transfers;
-- The state of its own feeds, for status; and the one way to refresh a view it does not own.
GRANT SELECT ON read.feeds, read.refreshes, read.view_freshness TO bankmirror_ingest;
GRANT EXECUTE ON FUNCTION read.refresh, read.shown, read.freshness TO bankmirror_ingest;
