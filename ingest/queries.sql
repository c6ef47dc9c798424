-- Everything that ingest asks of the database.

-- ── connections and targets ──────────────────────────────────────────────────────────────────────────────────────────

-- name: connection_get
-- The bank behind a connection, and whether anything was mirrored from it.
SELECT bank, bank_id, base_url,
       EXISTS (SELECT FROM snapshot.accounts WHERE connection_id = %(connection_id)s) AS has_data
  FROM sync.connections
 WHERE connection_id = %(connection_id)s;

-- name: connection_upsert
-- Say which bank a connection reads, where, and what its interface can do.
INSERT INTO sync.connections (connection_id, bank, bank_id, base_url, capabilities)
VALUES (%(connection_id)s, %(bank)s, %(bank_id)s, %(base_url)s, %(capabilities)s)
ON CONFLICT (connection_id) DO UPDATE
   SET bank = excluded.bank, bank_id = excluded.bank_id, base_url = excluded.base_url,
       capabilities = excluded.capabilities;

-- name: targets_ensure
-- A target for every feed: one for the connection, or one for each account where the bank has no feed for all. A process
-- that still reads the other way makes none that is used.
INSERT INTO sync.targets AS target (connection_id, account_id, feed, interval_seconds, in_use)
SELECT %(connection_id)s::text, made.account_id, made.feed, %(interval_seconds)s::double precision,
       NOT EXISTS (SELECT FROM sync.targets AS other
                    WHERE other.connection_id = %(connection_id)s AND other.feed = made.feed AND other.in_use
                      AND (other.account_id = '') <> (made.account_id = ''))
  FROM (SELECT '', feed FROM unnest(%(feeds)s::text[]) AS feed
        UNION ALL
        SELECT account.account_id, feed
          FROM snapshot.accounts AS account, unnest(%(feeds_per_account)s::text[]) AS feed
         WHERE account.connection_id = %(connection_id)s) AS made (account_id, feed)
ON CONFLICT (connection_id, account_id, feed) DO NOTHING;

-- name: targets_pace
-- Ask as often as the settings say now.
UPDATE sync.targets
   SET interval_seconds = %(interval_seconds)s,
       due_at = least(due_at, clock_timestamp() + make_interval(secs => %(interval_seconds)s))
 WHERE connection_id = %(connection_id)s AND interval_seconds <> %(interval_seconds)s;

-- name: targets_choose
-- Put the targets of the way of reading that is not used now aside, and wake those of the one that is. A poll of the other
-- way may be under way: with the epoch its lease is lost, and as it holds the row while it stores, this waits for that.
UPDATE sync.targets AS target
   SET in_use = used,
       lease_epoch = target.lease_epoch + 1, lease_holder = NULL, lease_until = '-infinity',
       due_at = CASE WHEN used THEN clock_timestamp() ELSE due_at END
  FROM (SELECT account_id, feed,
               (account_id = '') <> (feed = ANY (%(feeds_per_account)s::text[])) AS used
          FROM sync.targets WHERE connection_id = %(connection_id)s) AS way (account, of_feed, used)
 WHERE connection_id = %(connection_id)s AND account_id = account AND feed = of_feed
   AND in_use <> used;

-- name: targets_unpark
-- The bank said that an account is gone, and lists it as open: ask again.
UPDATE sync.targets AS target
   SET parked_reason = NULL
  FROM snapshot.accounts AS account
 WHERE (target.connection_id, target.account_id) = (account.connection_id, account.account_id)
   AND target.connection_id = %(connection_id)s AND target.parked_reason IS NOT NULL
   AND account.account_id = ANY (%(ids)s) AND account.status = 'open';

-- name: targets_list
-- Every target that is polled, with how it stands.
SELECT account_id, feed, complete, synced_at, failures, last_error, parked_reason,
       CASE WHEN lease_until > clock_timestamp() THEN lease_holder END AS held_by,
       due_at <= clock_timestamp() AS due
  FROM sync.targets
 WHERE connection_id = %(connection_id)s AND in_use
 ORDER BY feed, account_id;

-- name: targets_claim
-- Lease targets and open a run for each: the due ones, accounts first; or one by name, due or not.
-- The database's clock alone decides, so that no two processes can disagree about the time.
WITH free AS (
    SELECT connection_id, account_id, feed
      FROM sync.targets
     WHERE connection_id = %(connection_id)s
       AND parked_reason IS NULL
       AND in_use
       AND lease_until < clock_timestamp()
       AND CASE WHEN %(feed)s::text IS NULL
                THEN due_at <= clock_timestamp()
                     -- A balance of an account that is not listed yet has no place, and would wait for the next poll.
                     AND (feed = 'accounts' OR EXISTS (
                         SELECT FROM sync.targets AS listing
                          WHERE (listing.connection_id, listing.account_id, listing.feed) = (%(connection_id)s, '', 'accounts')
                            AND listing.synced_at IS NOT NULL))
                ELSE feed = %(feed)s AND account_id = %(account_id)s END
     ORDER BY feed = 'accounts' DESC, due_at
     LIMIT %(targets_max)s
       FOR UPDATE SKIP LOCKED),
claimed AS (
    UPDATE sync.targets AS target
       SET lease_holder = %(holder)s,
           lease_epoch = target.lease_epoch + 1,
           lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s),
           attempted_at = clock_timestamp()
      FROM free
     WHERE (target.connection_id, target.account_id, target.feed) = (free.connection_id, free.account_id, free.feed)
    RETURNING target.*),
-- A run that is still open belongs to a process that died: nobody finishes it, and the refresh waits for its end.
died AS (
    UPDATE sync.runs AS run
       SET outcome = 'failed', finished_at = clock_timestamp(), error = 'the process that ran it ended'
      FROM claimed,
           LATERAL (SELECT run_id FROM sync.runs AS last
                     WHERE (last.connection_id, last.account_id, last.feed)
                         = (claimed.connection_id, claimed.account_id, claimed.feed)
                     ORDER BY run_id DESC LIMIT 1) AS last
     WHERE run.run_id = last.run_id AND run.outcome = 'running'),
opened AS (
    INSERT INTO sync.runs (connection_id, account_id, feed, lease_epoch)
    SELECT connection_id, account_id, feed, lease_epoch FROM claimed
    RETURNING run_id, connection_id, account_id, feed, started_at)
SELECT connection_id, account_id, feed, cursor, checkpoint, complete, failures, lease_epoch, run_id, started_at
  FROM claimed JOIN opened USING (connection_id, account_id, feed)
 ORDER BY feed = 'accounts' DESC;

-- name: target_lock
-- Whether the lease is still ours. Held to the end of the transaction, so that nobody can take over in between.
SELECT lease_epoch FROM sync.targets
 WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s)
   FOR UPDATE;

-- name: target_renew
-- Keep a target for as long as its run lives. While a changeset is being stored the row is locked, and safe anyway.
UPDATE sync.targets AS target
   SET lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
  FROM (SELECT connection_id, account_id, feed
          FROM sync.targets
         WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s)
           AND lease_epoch = %(lease_epoch)s
           AND lease_holder IS NOT NULL
           FOR UPDATE SKIP LOCKED) AS mine
 WHERE (target.connection_id, target.account_id, target.feed) = (mine.connection_id, mine.account_id, mine.feed);

-- name: target_advance
-- Save how far a target has come, in the transaction that stored its rows. Outcome `running` keeps the lease.
-- It is fresh for two missed polls, plus the time that a run takes, plus two seconds for a slow commit.
UPDATE sync.targets
   SET cursor = CASE WHEN %(outcome)s = 'complete' THEN %(cursor)s ELSE cursor END,
       checkpoint = %(checkpoint)s,
       complete = %(complete)s,
       due_at = CASE WHEN %(outcome)s = 'complete'
                     THEN clock_timestamp() + make_interval(secs => interval_seconds * %(spread)s)
                     ELSE clock_timestamp() END,
       lease_holder = CASE WHEN %(outcome)s = 'running' THEN lease_holder END,
       lease_until = CASE WHEN %(outcome)s = 'running' THEN lease_until ELSE '-infinity' END,
       synced_at = %(started_at)s::timestamptz,
       bank_as_of = coalesce(%(bank_as_of)s, bank_as_of),
       fresh_until = clock_timestamp() + make_interval(secs => 2 * interval_seconds + 2)
                   + (clock_timestamp() - %(started_at)s::timestamptz),
       failures = 0,
       failing_since = NULL,
       last_error = NULL
 WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s);

-- name: target_fail
-- Give a target back after a failure. Does nothing once another process has taken over.
UPDATE sync.targets
   SET due_at = clock_timestamp() + make_interval(secs => %(delay_seconds)s),
       lease_holder = NULL,
       lease_until = '-infinity',
       complete = complete AND NOT %(doubted)s,
       checkpoint = CASE WHEN %(void)s THEN NULL ELSE checkpoint END,
       failures = failures + 1,
       failing_since = coalesce(failing_since, clock_timestamp()),
       last_error = %(error)s,
       parked_reason = CASE WHEN %(parks)s THEN %(error)s ELSE parked_reason END
 WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s)
   AND lease_epoch = %(lease_epoch)s;

-- name: target_release
-- Give a target back untouched, due as it was: its run was cut short by us. If that was because our database went away,
-- pause first, twice as long each time in a row: the bank must not feel it when a database comes and goes.
UPDATE sync.targets
   SET lease_holder = NULL,
       lease_until = '-infinity',
       due_at = CASE WHEN NOT %(pauses)s THEN due_at
                     ELSE clock_timestamp() + make_interval(secs => least(60, 2 ^ least(6, (
                         SELECT count(*) FROM sync.runs AS run
                          WHERE (run.connection_id, run.account_id, run.feed)
                              = (targets.connection_id, targets.account_id, targets.feed)
                            AND run.error = %(reason)s
                            AND run.run_id > coalesce((
                                SELECT max(run_id) FROM sync.runs AS other
                                 WHERE (other.connection_id, other.account_id, other.feed)
                                     = (targets.connection_id, targets.account_id, targets.feed)
                                   AND other.outcome IN ('complete', 'partial', 'throttled')), 0))))) END
 WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s)
   AND lease_epoch = %(lease_epoch)s;

-- name: target_forget_cursor
-- The bank forgot the cursor: read everything again, and say partial until that is done.
UPDATE sync.targets
   SET cursor = NULL, checkpoint = NULL, complete = false
 WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s)
   AND lease_epoch = %(lease_epoch)s;

-- name: target_hasten
-- An account that we do not know was mentioned: list the accounts now.
UPDATE sync.targets SET due_at = clock_timestamp()
 WHERE connection_id = %(connection_id)s AND account_id = '' AND feed = 'accounts' AND due_at > clock_timestamp();

-- ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

-- name: run_advance
-- Add what a changeset did to its run. The transaction id is kept only if transactions changed: views follow it.
UPDATE sync.runs
   SET outcome = %(outcome)s,
       finished_at = CASE WHEN %(outcome)s <> 'running' THEN clock_timestamp() END,
       pages = pages + %(pages)s,
       rows_seen = rows_seen + %(rows_seen)s,
       rows_changed = rows_changed + %(rows_changed)s,
       rows_removed = rows_removed + %(rows_removed)s,
       rows_refused = rows_refused + %(rows_refused)s,
       cursor_from = %(cursor_from)s,
       cursor_to = %(cursor_to)s,
       bank_as_of = coalesce(%(bank_as_of)s, bank_as_of),
       error = %(error)s,
       txid = CASE WHEN feed = 'transactions' AND %(rows_changed)s + %(rows_removed)s > 0 THEN pg_current_xact_id()
                   ELSE txid END
 WHERE run_id = %(run_id)s;

-- name: run_end
-- Close a run that stored nothing more: failed, throttled or fenced.
UPDATE sync.runs
   SET outcome = %(outcome)s, finished_at = clock_timestamp(), error = %(error)s
 WHERE run_id = %(run_id)s AND outcome = 'running';

-- name: run_last_complete
-- The last run of a target that reached the terminal page; 0 when none did.
SELECT coalesce(
    (SELECT run_id FROM sync.runs
      WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s) AND outcome = 'complete'
      ORDER BY run_id DESC LIMIT 1), 0) AS run_id;

-- name: changed_notify
-- Tell listeners which accounts changed; they hear it when the transaction commits, and not before.
SELECT pg_notify('bankmirror_changed', %(payload)s);

-- name: runs_prune
-- Forget old runs: after a day those that changed no transactions, after a month all. The newest of each target stays.
DELETE FROM sync.runs AS run
 WHERE run.outcome <> 'running'
   AND run.finished_at < now() - CASE WHEN run.txid IS NULL AND run.outcome = 'complete'
                                      THEN interval '1 day' ELSE interval '31 days' END
   AND EXISTS (
       SELECT FROM sync.runs AS newer
        WHERE (newer.connection_id, newer.account_id, newer.feed) = (run.connection_id, run.account_id, run.feed)
          AND newer.run_id > run.run_id
          AND newer.outcome = 'complete');

-- name: views_refresh
-- Refresh the materialized views if something changed; true when it did.
SELECT read.refresh() AS refreshed;

-- ── accounts and balances ────────────────────────────────────────────────────────────────────────────────────────────

-- name: accounts_changed
-- Which of the listed accounts are new or different; which ones came or went against the last complete listing; and how
-- many open ones we hold, are not listed, and were listed until now.
SELECT coalesce(array_agg(listed.account_id) FILTER (
           WHERE listed.account_id IS NOT NULL
             AND (stored.name, stored.type, stored.currency, stored.status)
                 IS DISTINCT FROM (listed.name, listed.type, listed.currency, listed.status)), '{}') AS changed,
       coalesce(array_agg(stored.account_id) FILTER (WHERE was_listed <> (listed.account_id IS NOT NULL)), '{}') AS turned,
       count(*) FILTER (WHERE is_absent) AS absent,
       count(*) FILTER (WHERE is_absent AND is_recent) AS absent_lately,
       count(*) FILTER (WHERE stored.status = 'open') AS held
  FROM unnest(%(ids)s::text[], %(names)s::text[], %(types)s::text[], %(currencies)s::text[], %(statuses)s::text[])
       AS listed (account_id, name, type, currency, status)
  FULL JOIN (
       SELECT account.*,
              account.last_seen_at >= target.synced_at AS was_listed,
              account.last_seen_at > now() - make_interval(secs => 2 * target.interval_seconds + 2) AS is_recent
         FROM snapshot.accounts AS account
         JOIN sync.targets AS target
           ON (target.connection_id, target.account_id, target.feed) = (account.connection_id, '', 'accounts')
        WHERE account.connection_id = %(connection_id)s) AS stored USING (account_id)
 CROSS JOIN LATERAL (
       SELECT stored.status = 'open' AND listed.account_id IS NULL
              AND stored.account_id <> ALL (%(refused_ids)s::text[]) AS is_absent) AS judged;

-- name: accounts_upsert
-- Store the listed accounts. One that is no longer listed stays: its history does.
INSERT INTO snapshot.accounts AS stored (account_id, connection_id, name, type, currency, status)
SELECT account_id, %(connection_id)s, name, type, currency, status
  FROM unnest(%(ids)s::text[], %(names)s::text[], %(types)s::text[], %(currencies)s::text[], %(statuses)s::text[])
       AS listed (account_id, name, type, currency, status)
 ORDER BY account_id
ON CONFLICT (account_id) DO UPDATE
   SET name = excluded.name, type = excluded.type, currency = excluded.currency, status = excluded.status,
       last_seen_at = now()
 WHERE stored.connection_id = excluded.connection_id;

-- name: balances_absent
-- How many open accounts of which we hold a balance have none in a listing of all of them, and had one until now.
SELECT count(*) FILTER (WHERE is_absent) AS absent,
       count(*) FILTER (WHERE is_absent AND is_recent) AS absent_lately,
       count(*) AS held
  FROM (SELECT account.account_id <> ALL (%(ids)s::text[] || %(refused_ids)s::text[]) AS is_absent,
               max(balance.synced_at) > now() - make_interval(secs => 2 * max(target.interval_seconds) + 2) AS is_recent
          FROM snapshot.accounts AS account
          JOIN snapshot.balances AS balance USING (account_id)
          JOIN sync.targets AS target
            ON (target.connection_id, target.account_id, target.feed) = (account.connection_id, '', 'balances')
         WHERE account.connection_id = %(connection_id)s AND account.status = 'open'
         GROUP BY account.account_id) AS known;

-- name: balances_upsert
-- Store balances of known accounts. A late poll never overwrites a newer one: banks answer out of order under load.
INSERT INTO snapshot.balances AS stored (account_id, currency, current_minor, available_minor, as_of, run_id)
SELECT listed.account_id, listed.currency, current_minor, available_minor, as_of, %(run_id)s
  FROM unnest(%(ids)s::text[], %(currencies)s::text[], %(currents)s::bigint[], %(availables)s::bigint[],
              %(as_ofs)s::timestamptz[]) AS listed (account_id, currency, current_minor, available_minor, as_of)
  JOIN snapshot.accounts AS account USING (account_id)
 ORDER BY listed.account_id, listed.currency
ON CONFLICT (account_id, currency) DO UPDATE
   SET current_minor = excluded.current_minor, available_minor = excluded.available_minor, as_of = excluded.as_of,
       synced_at = now(), run_id = excluded.run_id
 WHERE stored.as_of <= excluded.as_of
RETURNING account_id;

-- name: balance_history_extend
-- Move last_seen_at of the newest kept balance where it is still what the bank says.
UPDATE snapshot.balance_snapshots AS kept
   SET last_seen_at = now()
  FROM snapshot.balances AS balance,
       LATERAL (SELECT known_from FROM snapshot.balance_snapshots AS newest
                 WHERE (newest.account_id, newest.currency) = (balance.account_id, balance.currency)
                 ORDER BY known_from DESC LIMIT 1) AS newest
 WHERE balance.account_id = ANY (%(ids)s) AND balance.run_id = %(run_id)s
   AND (kept.account_id, kept.currency, kept.known_from) = (balance.account_id, balance.currency, newest.known_from)
   AND (kept.current_minor, kept.available_minor)
       IS NOT DISTINCT FROM (balance.current_minor, balance.available_minor);

-- name: balance_history_append
-- Keep each balance that differs from the one before it.
INSERT INTO snapshot.balance_snapshots (account_id, currency, current_minor, available_minor, as_of, known_from, run_id)
SELECT account_id, currency, current_minor, available_minor, as_of,
       greatest(now(), newest.known_from + interval '1 us'), run_id
  FROM snapshot.balances AS balance
  LEFT JOIN LATERAL (
       SELECT current_minor, available_minor, known_from FROM snapshot.balance_snapshots AS newest
        WHERE (newest.account_id, newest.currency) = (balance.account_id, balance.currency)
        ORDER BY known_from DESC LIMIT 1) AS newest (newest_current, newest_available, known_from) ON true
 WHERE account_id = ANY (%(ids)s) AND run_id = %(run_id)s
   AND (newest.known_from IS NULL
        OR (current_minor, available_minor) IS DISTINCT FROM (newest_current, newest_available))
RETURNING account_id;

-- name: accounts_unknown
-- Which of these ids are not listed as accounts yet.
SELECT DISTINCT id FROM unnest(%(ids)s::text[]) AS id
 WHERE NOT EXISTS (SELECT FROM snapshot.accounts WHERE account_id = id);

-- ── transactions: one changeset ──────────────────────────────────────────────────────────────────────────────────────

-- name: stage_create
-- What one changeset is made of while its transaction runs. Made once per connection, emptied by every COMMIT.
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    -- the fields of banks.ports.FetchedTransaction, in its order
    account_id text NOT NULL, transaction_id text NOT NULL, amount_minor bigint NOT NULL, currency text NOT NULL,
    status text NOT NULL, type text NOT NULL, description text NOT NULL, counterparty_name text,
    counterparty_account_id text, client_reference text, pending_transaction_id text, created_at timestamptz NOT NULL,
    booked_on date, content_hash bytea NOT NULL
) ON COMMIT DELETE ROWS;

-- Versions that stop being what the bank shows: they leave the totals and become history.
CREATE TEMPORARY TABLE IF NOT EXISTS ended (
    LIKE snapshot.transactions, ended_by text NOT NULL, successor_id text
) ON COMMIT DELETE ROWS;

-- name: incoming_copy
-- Where the rows of a changeset are copied to.
COPY incoming FROM STDIN (FORMAT binary);

-- name: incoming_count_known
-- How many of the incoming rows the mirror has, in whatever version.
SELECT count(*) AS known FROM incoming JOIN snapshot.transactions USING (account_id, transaction_id);

-- name: incoming_drop_unchanged
-- What the mirror has exactly so already is no change.
DELETE FROM incoming USING snapshot.transactions AS stored
 WHERE (incoming.account_id, incoming.transaction_id, incoming.content_hash)
     = (stored.account_id, stored.transaction_id, stored.content_hash);

-- name: holds_forget
-- What the bank shows or removes now decides anew whether there is a hold to hide.
DELETE FROM sync.hidden_holds AS hidden
 USING (SELECT account_id, transaction_id FROM incoming
        UNION ALL
        SELECT * FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]))
       AS told (account_id, transaction_id)
 WHERE (hidden.account_id, hidden.transaction_id) = (told.account_id, told.transaction_id);

-- name: holds_forget_all
-- A pass that shows everything begins: it shows every hold that there still is.
DELETE FROM sync.hidden_holds
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id));

-- name: incoming_settled
-- Pending rows that come after, or together with, the posted entry that they became. They are kept as history that was
-- never believed, and are not shown: the money would be counted twice. They are hidden for as long as both are there.
WITH late AS (
    SELECT incoming.*, posted.transaction_id AS successor_id
      FROM incoming
      JOIN LATERAL (
           SELECT transaction_id FROM incoming AS beside
            WHERE beside.status = 'posted' AND beside.account_id = incoming.account_id
              AND beside.pending_transaction_id = incoming.transaction_id
           UNION ALL
           SELECT transaction_id FROM snapshot.transactions AS stored
            WHERE stored.status = 'posted' AND stored.account_id = incoming.account_id
              AND stored.pending_transaction_id = incoming.transaction_id
              AND NOT EXISTS (
                  SELECT FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]) AS removed (account_id, id)
                   WHERE (removed.account_id, removed.id) = (stored.account_id, stored.transaction_id))
            LIMIT 1) AS posted ON posted.transaction_id <> incoming.transaction_id
     WHERE incoming.status = 'pending'),
kept AS (
    INSERT INTO snapshot.transaction_revisions (
        account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
        counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
        known_from, run_id, known_to, ended_by, successor_id, ended_run_id)
    SELECT late.account_id, late.transaction_id, amount_minor, currency, status, type, description, counterparty_name,
           counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
           now(), %(run_id)s, now(), 'settled', successor_id, %(run_id)s
      FROM late
     WHERE NOT EXISTS (
           SELECT FROM snapshot.transaction_revisions AS kept
            WHERE (kept.account_id, kept.transaction_id, kept.content_hash)
                = (late.account_id, late.transaction_id, late.content_hash))
       AND NOT EXISTS (
           SELECT FROM snapshot.transactions AS stored
            WHERE (stored.account_id, stored.transaction_id) = (late.account_id, late.transaction_id))),
hidden AS (
    INSERT INTO sync.hidden_holds (
        account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
        counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash)
    SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
           counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash
      FROM late)
DELETE FROM incoming USING late
 WHERE (incoming.account_id, incoming.transaction_id) = (late.account_id, late.transaction_id);

-- name: ended_changed
-- The version before, of every row that comes in another one.
INSERT INTO ended (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, ended_by, successor_id)
SELECT stored.account_id, stored.transaction_id, stored.amount_minor, stored.currency, stored.status, stored.type,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, stored.booked_on, stored.content_hash, stored.known_from,
       stored.run_id,
       'changed', NULL
  FROM snapshot.transactions AS stored JOIN incoming USING (account_id, transaction_id);

-- name: ended_settled
-- Pending rows whose posted entry came in: they are the same money, so they stop being shown.
INSERT INTO ended (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, ended_by, successor_id)
SELECT DISTINCT ON (stored.account_id, stored.transaction_id)
       stored.account_id, stored.transaction_id, stored.amount_minor, stored.currency, stored.status, stored.type,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, stored.booked_on, stored.content_hash, stored.known_from,
       stored.run_id,
       'settled', posted.transaction_id
  FROM incoming AS posted
  JOIN snapshot.transactions AS stored
    ON stored.account_id = posted.account_id AND stored.transaction_id = posted.pending_transaction_id
 WHERE posted.status = 'posted' AND stored.status = 'pending' AND stored.transaction_id <> posted.transaction_id
   AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM incoming)
 ORDER BY stored.account_id, stored.transaction_id, posted.transaction_id;

-- name: holds_hide
-- Settled, but the bank did not remove the pending row: it still shows it. A pass from the start shows what there is, so
-- there only a row counts that it showed already (and did not leave noted as missing).
INSERT INTO sync.hidden_holds (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash)
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash
  FROM ended
 WHERE ended_by = 'settled'
   AND NOT EXISTS (
       SELECT FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]) AS removed (account_id, id)
        WHERE (removed.account_id, removed.id) = (ended.account_id, ended.transaction_id))
   AND NOT (%(from_start)s AND EXISTS (
       SELECT FROM sync.missing
        WHERE (missing.account_id, missing.transaction_id) = (ended.account_id, ended.transaction_id)))
ON CONFLICT (account_id, transaction_id) DO NOTHING;

-- name: holds_return
-- The posted entry is gone, or names another pending row now: what it hid is shown again.
WITH back AS (
    DELETE FROM sync.hidden_holds AS hidden
     USING (SELECT DISTINCT account_id, pending_transaction_id FROM ended
             WHERE status = 'posted' AND pending_transaction_id IS NOT NULL) AS was (account_id, hold_id)
     WHERE (hidden.account_id, hidden.transaction_id) = (was.account_id, was.hold_id)
       AND NOT EXISTS (
           SELECT FROM incoming AS posted
            WHERE posted.status = 'posted' AND posted.account_id = hidden.account_id
              AND posted.pending_transaction_id = hidden.transaction_id)
       AND NOT EXISTS (
           SELECT FROM snapshot.transactions AS posted
            WHERE posted.status = 'posted' AND posted.account_id = hidden.account_id
              AND posted.pending_transaction_id = hidden.transaction_id
              AND NOT EXISTS (
                  SELECT FROM ended
                   WHERE (ended.account_id, ended.transaction_id) = (posted.account_id, posted.transaction_id)))
    RETURNING hidden.*)
INSERT INTO incoming (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash)
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash
  FROM back;

-- name: ended_removed
-- Rows that the bank says it removed, unless their posted entry explains it better.
INSERT INTO ended (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, ended_by, successor_id)
SELECT stored.account_id, stored.transaction_id, stored.amount_minor, stored.currency, stored.status, stored.type,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, stored.booked_on, stored.content_hash, stored.known_from,
       stored.run_id,
       'removed', NULL
  FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]) AS removed (account_id, transaction_id)
  JOIN snapshot.transactions AS stored USING (account_id, transaction_id)
 WHERE (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended);

-- name: ended_archive
-- Old versions become history. An interval is never empty and meets the next one, even if the clock was set back.
INSERT INTO snapshot.transaction_revisions (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, known_to, ended_by, successor_id, ended_run_id)
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
       known_from, run_id, greatest(now(), known_from + interval '1 us'), ended_by, successor_id, %(run_id)s
  FROM ended;

-- name: ended_delete
-- What ended without a newer version leaves the mirror.
DELETE FROM snapshot.transactions AS stored USING ended
 WHERE ended.ended_by <> 'changed'
   AND (stored.account_id, stored.transaction_id) = (ended.account_id, ended.transaction_id);

-- name: totals_move
-- Take the old versions out of the daily totals and put the new ones in. Only posted money counts.
INSERT INTO snapshot.daily_totals AS total (account_id, booked_on, currency, in_minor, out_minor, entries)
SELECT account_id, booked_on, currency,
       coalesce(sum(amount * sign) FILTER (WHERE amount > 0), 0),
       coalesce(sum(amount * sign) FILTER (WHERE amount < 0), 0),
       sum(sign)
  FROM (SELECT account_id, booked_on, currency, amount_minor, 1 FROM incoming WHERE status = 'posted'
        UNION ALL
        SELECT account_id, booked_on, currency, amount_minor, -1 FROM ended WHERE status = 'posted')
       AS moved (account_id, booked_on, currency, amount, sign)
 GROUP BY account_id, booked_on, currency
 ORDER BY account_id, booked_on, currency
ON CONFLICT (account_id, booked_on, currency) DO UPDATE
   SET in_minor = total.in_minor + excluded.in_minor,
       out_minor = total.out_minor + excluded.out_minor,
       entries = total.entries + excluded.entries;

-- name: transactions_copy
-- Where the rows of a changeset go straight to when every one of them is new: twice as fast as the upsert.
COPY snapshot.transactions (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash, run_id)
FROM STDIN (FORMAT binary);

-- name: incoming_upsert
-- Store what is new or different, in the order of the key so that two writers cannot lock each other out.
INSERT INTO snapshot.transactions AS stored (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id)
SELECT account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
       counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
       now(), %(run_id)s
  FROM incoming
 ORDER BY account_id, transaction_id
ON CONFLICT (account_id, transaction_id) DO UPDATE
   SET amount_minor = excluded.amount_minor, currency = excluded.currency, status = excluded.status,
       type = excluded.type, description = excluded.description, counterparty_name = excluded.counterparty_name,
       counterparty_account_id = excluded.counterparty_account_id, client_reference = excluded.client_reference,
       pending_transaction_id = excluded.pending_transaction_id, created_at = excluded.created_at,
       booked_on = excluded.booked_on, content_hash = excluded.content_hash,
       known_from = greatest(excluded.known_from, stored.known_from + interval '1 us'), run_id = excluded.run_id;

-- ── absence ──────────────────────────────────────────────────────────────────────────────────────────────────────────
-- A pass that shows everything (a listing of a window, a delta feed from its start) notes at its beginning which rows we
-- hold and its first rows do not show, strikes out those that it shows later, and judges the rest at its end. What an
-- earlier complete pass had missed already is then removed.

-- name: missing_forget
-- Drop the notes of a pass that never came to its end.
DELETE FROM sync.missing
 WHERE run_id > %(last_complete)s
   AND account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id));

-- name: missing_note_all
-- Begin a pass over a whole connection: note what we hold and the first rows do not show.
INSERT INTO sync.missing (account_id, transaction_id, run_id)
SELECT account_id, transaction_id, %(run_id)s
  FROM snapshot.transactions AS stored
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts WHERE connection_id = %(connection_id)s)
   AND NOT EXISTS (
       SELECT FROM incoming
        WHERE (incoming.account_id, incoming.transaction_id) = (stored.account_id, stored.transaction_id))
ON CONFLICT (account_id, transaction_id) DO NOTHING;

-- name: missing_note_window
-- Begin a pass over the days of one account. The first and the last day are left out: in the bank's zone they may be
-- other days. Rows made long before the window but booked inside are not judged, so that an index can find the rest.
INSERT INTO sync.missing (account_id, transaction_id, run_id)
SELECT account_id, transaction_id, %(run_id)s
  FROM snapshot.transactions AS stored
 WHERE account_id = %(account_id)s
   AND created_at >= %(first)s::date - 60
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date
   AND NOT EXISTS (
       SELECT FROM incoming
        WHERE (incoming.account_id, incoming.transaction_id) = (stored.account_id, stored.transaction_id))
ON CONFLICT (account_id, transaction_id) DO NOTHING;

-- name: missing_strike
-- What is shown is not missing, and neither is what is shown but cannot be read.
DELETE FROM sync.missing
 USING (SELECT account_id, transaction_id FROM incoming
        UNION ALL
        SELECT * FROM unnest(%(refused_accounts)s::text[], %(refused_ids)s::text[]))
       AS shown (account_id, transaction_id)
 WHERE (missing.account_id, missing.transaction_id) = (shown.account_id, shown.transaction_id);

-- name: missing_count
-- How many rows of the days that a pass covers are missing; the days are endless for a whole connection.
SELECT count(*) AS absent
  FROM sync.missing JOIN snapshot.transactions USING (account_id, transaction_id)
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts
                       WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date;

-- name: held_count_all
-- How many rows a connection has.
SELECT count(*) AS held FROM snapshot.transactions
 WHERE account_id IN (SELECT account_id FROM snapshot.accounts WHERE connection_id = %(connection_id)s);

-- name: held_count_window
-- How many rows an account has in the days that are judged; see missing_note_window.
SELECT count(*) AS held
  FROM snapshot.transactions
 WHERE account_id = %(account_id)s
   AND created_at >= %(first)s::date - 60
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date;

-- name: ended_absent
-- Rows that two complete passes, at least an interval apart, did not show.
INSERT INTO ended (
    account_id, transaction_id, amount_minor, currency, status, type, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, booked_on, content_hash,
    known_from, run_id, ended_by, successor_id)
SELECT stored.account_id, stored.transaction_id, stored.amount_minor, stored.currency, stored.status, stored.type,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, stored.booked_on, stored.content_hash, stored.known_from,
       stored.run_id,
       'absent', NULL
  FROM sync.missing JOIN snapshot.transactions AS stored USING (account_id, transaction_id)
 WHERE missing.run_id <= %(last_complete)s
   AND missing.first_missed_at <= now() - make_interval(secs => (
           SELECT interval_seconds FROM sync.targets
            WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, 'transactions')))
   AND stored.account_id IN (SELECT account_id FROM snapshot.accounts
                              WHERE connection_id = %(connection_id)s AND %(account_id)s IN ('', account_id))
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) > %(first)s::date
   AND coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date) < %(last)s::date
   AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended);

-- name: missing_resolve
-- What left the mirror is not missing from it.
DELETE FROM sync.missing USING ended
 WHERE (missing.account_id, missing.transaction_id) = (ended.account_id, ended.transaction_id);

-- ── coverage and quarantine ──────────────────────────────────────────────────────────────────────────────────────────

-- name: window_get
-- What decides the next listing of an account: the day it is covered to, and the oldest day that has something open,
-- an entry that is pending, that was missed once or that was refused.
SELECT (SELECT covered_to FROM sync.coverage WHERE account_id = %(account_id)s) AS covered_to,
       least((SELECT min(created_at AT TIME ZONE 'UTC')::date FROM snapshot.transactions
               WHERE account_id = %(account_id)s AND status = 'pending' AND created_at > now() - interval '45 days'),
             (SELECT min(coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date))
                FROM sync.missing JOIN snapshot.transactions USING (account_id, transaction_id)
               WHERE account_id = %(account_id)s),
             (SELECT min(day) FROM sync.quarantine
               WHERE account_id = %(account_id)s AND feed = 'transactions' AND resolved_at IS NULL)) AS oldest_open,
       (clock_timestamp() AT TIME ZONE 'UTC')::date AS today;

-- name: coverage_extend
-- A listing reached its last page: its days are covered.
INSERT INTO sync.coverage AS covered (account_id, covered_from, covered_to, run_id)
VALUES (%(account_id)s, %(first)s, least(%(last)s::date, (clock_timestamp() AT TIME ZONE 'UTC')::date), %(run_id)s)
ON CONFLICT (account_id) DO UPDATE
   SET covered_from = least(covered.covered_from, excluded.covered_from),
       covered_to = greatest(covered.covered_to, excluded.covered_to),
       verified_at = now(), run_id = excluded.run_id;

-- name: quarantine_upsert
-- Keep a refused row as it came. Seen again it stays one entry, and is open again if it was resolved.
INSERT INTO sync.quarantine AS kept (
    connection_id, account_id, feed, transaction_id, day, reason, raw, raw_sha256, run_id)
SELECT %(connection_id)s, account_id, %(feed)s, transaction_id, day, reason, raw, sha256(raw), %(run_id)s
  FROM (SELECT DISTINCT ON (account_id, raw) account_id, transaction_id, day, reason, raw
          FROM unnest(%(accounts)s::text[], %(ids)s::text[], %(days)s::date[], %(reasons)s::text[], %(raws)s::bytea[])
               AS refused (account_id, transaction_id, day, reason, raw)
         ORDER BY account_id, raw) AS refused
ON CONFLICT (connection_id, account_id, feed, raw_sha256) DO UPDATE
   SET last_seen_at = now(), run_id = excluded.run_id, reason = excluded.reason, resolved_at = NULL
RETURNING xmax = 0 AS is_new;

-- name: quarantine_mend
-- Transactions that come well now, or are removed: what was refused of them is settled.
UPDATE sync.quarantine AS kept
   SET resolved_at = now()
  FROM (SELECT account_id, transaction_id FROM incoming
        UNION ALL
        SELECT * FROM unnest(%(removed_accounts)s::text[], %(removed_ids)s::text[]))
       AS told (account_id, transaction_id)
 WHERE (kept.connection_id, kept.feed) = (%(connection_id)s, 'transactions')
   AND (kept.account_id, kept.transaction_id) = (told.account_id, told.transaction_id)
   AND kept.resolved_at IS NULL;

-- name: quarantine_resolve
-- A complete pass did not show these again although it shows everything, or all of their days: the bank mended or removed
-- them. The first and the last day are left out: in the bank's zone they may be other days.
UPDATE sync.quarantine
   SET resolved_at = now()
 WHERE (connection_id, feed) = (%(connection_id)s, %(feed)s)
   AND %(account_id)s IN ('', account_id)
   AND resolved_at IS NULL
   AND (%(shows_all)s OR (day > %(first)s::date AND day < %(last)s::date))
   AND run_id <= %(last_complete)s;

-- name: quarantine_count
-- How many refused rows of a connection are open.
SELECT count(*) AS open FROM sync.quarantine WHERE connection_id = %(connection_id)s AND resolved_at IS NULL;
