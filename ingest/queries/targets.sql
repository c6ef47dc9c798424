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

-- name: targets_due
-- Lock targets of a kind that are due and free, the longest due first. None while the bank wants a
-- pause. The database's clock alone decides, so that no two processes can disagree about the time.
SELECT account_id, feed
  FROM sync.targets
 WHERE connection_id = %(connection_id)s
   AND kind = %(kind)s
   AND due_at <= now()
   AND parked_reason IS NULL
   AND in_use
   AND lease_until < clock_timestamp()
   -- A balance of an account that is not listed yet has no place, and would wait for the next poll.
   AND (feed = 'accounts' OR EXISTS (
       SELECT FROM sync.targets AS listing
        WHERE (listing.connection_id, listing.account_id, listing.feed) = (%(connection_id)s, '', 'accounts')
          AND listing.synced_at IS NOT NULL))
   AND NOT EXISTS (
       SELECT FROM sync.budgets
        WHERE budgets.connection_id = %(connection_id)s AND budgets.paused_until > clock_timestamp())
 ORDER BY due_at
 LIMIT %(targets_max)s
   FOR UPDATE SKIP LOCKED;

-- name: target_named
-- Lock one target, due or not, if nobody holds it.
SELECT account_id, feed
  FROM sync.targets
 WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s)
   AND parked_reason IS NULL
   AND in_use
   AND lease_until < clock_timestamp()
   FOR UPDATE SKIP LOCKED;

-- name: targets_lease
-- Lease the locked targets and open a run for each.
WITH claimed AS (
    UPDATE sync.targets AS target
       SET lease_holder = %(holder)s,
           lease_epoch = target.lease_epoch + 1,
           lease_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s),
           attempted_at = clock_timestamp()
      FROM unnest(%(account_ids)s::text[], %(feeds)s::text[]) AS free (account_id, feed)
     WHERE (target.connection_id, target.account_id, target.feed) = (%(connection_id)s, free.account_id, free.feed)
       -- Locked and free since a moment ago; said again, so that no two claims can ever rest on what was read before a lock.
       AND target.lease_until < clock_timestamp()
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
SELECT connection_id, account_id, feed, cursor, checkpoint, complete, failures, lease_epoch, run_id, started_at,
       extract(epoch FROM clock_timestamp() - greatest(changed_at, demanded_at))::float8 AS silent_seconds
  FROM claimed JOIN opened USING (connection_id, account_id, feed)
 ORDER BY feed = 'accounts' DESC;

-- name: target_lock
-- Whether the lease is still ours. Held to the end of the transaction, so that nobody can take over in between. And whether
-- the database's clock was set back since the run began: what is stored now would be known before moments already told of.
SELECT lease_epoch,
       now() < %(started_at)s::timestamptz OR clock_timestamp() < (SELECT mark FROM sync.clock) AS clock_is_back
  FROM sync.targets
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
-- Who asked while the run was under way may have meant what it did not see: another run follows, a second later at the earliest.
-- Who asked for it at once may be waiting for its end, which is told even if it found nothing new. Nobody waits longer than
-- ten seconds, and where nobody waits nothing is told: that would wake every reader for every poll.
WITH paced AS (
    SELECT connection_id, account_id, feed,
           CASE WHEN %(outcome)s <> 'complete' THEN interval_seconds
                WHEN demanded_at > %(started_at)s::timestamptz THEN coalesce(%(quick_seconds)s::float8, interval_seconds)
                ELSE coalesce(%(interval_seconds)s::float8, interval_seconds) END AS pause_seconds
      FROM sync.targets
     WHERE (connection_id, account_id, feed) = (%(connection_id)s, %(account_id)s, %(feed)s))
UPDATE sync.targets AS target
   SET cursor = CASE WHEN %(outcome)s = 'complete' THEN %(cursor)s ELSE cursor END,
       checkpoint = %(checkpoint)s,
       complete = %(complete)s,
       interval_seconds = pause_seconds,
       due_at = CASE WHEN %(outcome)s <> 'complete' THEN clock_timestamp()
                     WHEN hastened_at > %(started_at)s::timestamptz
                     THEN greatest(clock_timestamp(), attempted_at + interval '1 second')
                     ELSE clock_timestamp() + make_interval(secs => pause_seconds * %(spread)s) END,
       lease_holder = CASE WHEN %(outcome)s = 'running' THEN lease_holder END,
       lease_until = CASE WHEN %(outcome)s = 'running' THEN lease_until ELSE '-infinity' END,
       changed_at = CASE WHEN %(changed)s THEN clock_timestamp() ELSE changed_at END,
       synced_at = %(started_at)s::timestamptz,
       bank_as_of = coalesce(%(bank_as_of)s, bank_as_of),
       fresh_until = clock_timestamp() + make_interval(secs => 2 * pause_seconds + 2)
                   + (clock_timestamp() - %(started_at)s::timestamptz),
       failures = 0,
       failing_since = NULL,
       circuit_opened_at = NULL,
       last_error = NULL
  FROM paced
 WHERE (target.connection_id, target.account_id, target.feed) = (paced.connection_id, paced.account_id, paced.feed)
RETURNING CASE WHEN NOT %(changed)s AND target.hastened_at > clock_timestamp() - interval '15 seconds'
               THEN pg_notify('bankmirror_confirmed', %(payload)s) END;

-- name: target_fail
-- Give a target back after a failure. Does nothing once another process has taken over.
-- Its circuit opens if it keeps failing while the bank answers for others: while the bank is away, all come back quickly.
WITH judged AS (
    SELECT failing.connection_id, failing.account_id, failing.feed,
           failing.account_id <> '' AND %(circuit_seconds)s::float8 IS NOT NULL
               AND listing.synced_at > failing.failing_since AS opens
      FROM sync.targets AS failing
      LEFT JOIN sync.targets AS listing
        ON (listing.connection_id, listing.account_id, listing.feed) = (failing.connection_id, '', 'accounts')
     WHERE (failing.connection_id, failing.account_id, failing.feed) = (%(connection_id)s, %(account_id)s, %(feed)s)),
rested AS (
    SELECT judged.*,
           clock_timestamp() + make_interval(secs => CASE WHEN opens THEN %(circuit_seconds)s::float8
                                                          ELSE %(delay_seconds)s::float8 END) AS again_at
      FROM judged)
UPDATE sync.targets AS target
   SET due_at = again_at,
       lease_holder = NULL,
       lease_until = '-infinity',
       complete = complete AND NOT %(doubted)s,
       checkpoint = CASE WHEN %(void)s THEN NULL ELSE checkpoint END,
       failures = failures + 1,
       failing_since = coalesce(failing_since, clock_timestamp()),
       circuit_opened_at = CASE WHEN opens THEN coalesce(circuit_opened_at, clock_timestamp()) END,
       last_error = %(error)s || CASE WHEN opens THEN
           format(' (%%s times in a row while the bank answers for others; tried again at %%s)', failures + 1,
                  to_char(again_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) ELSE '' END,
       parked_reason = CASE WHEN %(parks)s THEN %(error)s ELSE parked_reason END
  FROM rested
 WHERE (target.connection_id, target.account_id, target.feed) = (rested.connection_id, rested.account_id, rested.feed)
   AND target.lease_epoch = %(lease_epoch)s;

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

-- name: targets_demand
-- Somebody read these accounts: keep them at the quick pace, due no later than that allows. What fails or is probed keeps
-- its pause. Freshness is held to the quick pace as well, but for the poll that this asks for there is time.
-- Who read a list of all (null) read what covers the connection: a page of fifty must not wake twenty thousand accounts.
-- A note that is a quarter of the pace old is as good as a new one, and spares a busy reader's targets most of the writing.
-- `skipped` are targets that a run is just storing into: asking them again in a moment is cheaper than to wait for its lock.
WITH wanted AS (
    SELECT connection_id, account_id, feed
      FROM sync.targets
     WHERE connection_id = %(connection_id)s
       AND in_use
       AND parked_reason IS NULL
       AND CASE WHEN account_id <> '' THEN account_id = ANY (%(account_ids)s::text[])
                ELSE %(account_ids)s::text[] IS NULL OR EXISTS (
                    SELECT FROM snapshot.accounts AS account
                     WHERE account.connection_id = %(connection_id)s
                       AND account.account_id = ANY (%(account_ids)s::text[])) END
       AND (demanded_at IS NULL
            OR demanded_at < clock_timestamp() - make_interval(secs => greatest(1, %(quick_seconds)s::float8 / 4)))),
free AS (
    SELECT target.*
      FROM sync.targets AS target JOIN wanted USING (connection_id, account_id, feed)
       FOR UPDATE OF target SKIP LOCKED),
moved AS (
    UPDATE sync.targets AS target
       SET demanded_at = clock_timestamp(),
           due_at = CASE WHEN target.failures > 0 THEN target.due_at
                         ELSE least(target.due_at,
                                    coalesce(target.synced_at, now()) + make_interval(secs => %(quick_seconds)s)) END,
           fresh_until = least(target.fresh_until,
                               clock_timestamp() + make_interval(secs => 2 * %(quick_seconds)s::float8 + 2))
      FROM free
     WHERE (target.connection_id, target.account_id, target.feed) = (free.connection_id, free.account_id, free.feed)
    RETURNING 1)
SELECT (SELECT count(*) FROM wanted) - (SELECT count(*) FROM moved) AS skipped;

-- name: targets_hasten
-- Poll these accounts (null: any) now, if what we have is older than this; each at most once a second. What fails or is
-- probed keeps its pause: it is asked as soon as it may be. `skipped` as above.
WITH wanted AS (
    SELECT connection_id, account_id, feed
      FROM sync.targets
     WHERE connection_id = %(connection_id)s
       AND in_use
       AND parked_reason IS NULL
       AND (%(account_ids)s::text[] IS NULL
            OR account_id = ANY (%(account_ids)s::text[])
            OR account_id = '' AND EXISTS (
                SELECT FROM snapshot.accounts AS account
                 WHERE account.connection_id = %(connection_id)s AND account.account_id = ANY (%(account_ids)s::text[])))
       AND (synced_at IS NULL OR synced_at <= clock_timestamp() - make_interval(secs => %(age_max_seconds)s))),
free AS (
    SELECT target.*
      FROM sync.targets AS target JOIN wanted USING (connection_id, account_id, feed)
       FOR UPDATE OF target SKIP LOCKED),
moved AS (
    UPDATE sync.targets AS target
       SET hastened_at = clock_timestamp(),
           due_at = CASE WHEN target.failures > 0 THEN target.due_at
                         ELSE least(target.due_at,
                                    greatest(clock_timestamp(), target.attempted_at + interval '1 second')) END
      FROM free
     WHERE (target.connection_id, target.account_id, target.feed) = (free.connection_id, free.account_id, free.feed)
    RETURNING 1)
SELECT (SELECT count(*) FROM wanted) - (SELECT count(*) FROM moved) AS skipped;
