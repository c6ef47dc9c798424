-- What is polled, by whom, and when again.

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
