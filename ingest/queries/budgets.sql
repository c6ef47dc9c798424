-- How much a bank may be asked by all processes together.

-- name: budget_ensure
-- A connection's bucket, with a permit of each kind to begin with.
INSERT INTO sync.budgets (connection_id) VALUES (%(connection_id)s) ON CONFLICT (connection_id) DO NOTHING;

-- name: budget_take
-- Fill the bucket up to now and take permits out of one of its parts. What does not fit in one part flows over to the other.
-- A clock that was set back fills nothing, and one that leapt fills no more than the caps hold.
WITH held AS (
    SELECT *, least(3600, greatest(0, extract(epoch FROM clock_timestamp() - filled_at)))::float8 AS elapsed
      FROM sync.budgets
     WHERE connection_id = %(connection_id)s
       FOR UPDATE),
risen AS (
    SELECT connection_id, paused_until,
           reserved_permits + elapsed * %(reserved_rate)s::float8 AS reserved,
           open_permits + elapsed * %(open_rate)s::float8 AS open
      FROM held),
level AS (
    SELECT connection_id, paused_until,
           least(%(reserved_cap)s::float8, reserved + greatest(0, open - %(open_cap)s::float8)) AS reserved,
           least(%(open_cap)s::float8, open + greatest(0, reserved - %(reserved_cap)s::float8)) AS open
      FROM risen),
taken AS (
    SELECT *,
           CASE WHEN paused_until > clock_timestamp() THEN 0
                ELSE floor(least(%(wanted)s::float8, CASE WHEN %(reserved)s THEN reserved ELSE open END)) END AS permits
      FROM level)
UPDATE sync.budgets AS budget
   SET reserved_permits = greatest(0, taken.reserved - CASE WHEN %(reserved)s THEN permits ELSE 0 END),
       open_permits = greatest(0, taken.open - CASE WHEN %(reserved)s THEN 0 ELSE permits END),
       filled_at = clock_timestamp()
  FROM taken
 WHERE budget.connection_id = taken.connection_id
RETURNING permits::int AS permits,
          extract(epoch FROM greatest(taken.paused_until, now()) - now())::float8 AS paused_seconds,
          CASE WHEN %(reserved)s THEN (1 - taken.reserved) / %(reserved_rate)s::float8
               ELSE (1 - taken.open) / %(open_rate)s::float8 END AS wait_seconds;

-- name: budget_paused
-- For how long the bank wants to hear nothing more, in seconds; 0 when it may be asked.
SELECT coalesce(
    (SELECT extract(epoch FROM greatest(paused_until, now()) - now()) FROM sync.budgets
      WHERE connection_id = %(connection_id)s), 0)::float8 AS seconds;

-- name: budget_pause
-- The bank said 429: nobody asks it before its pause is over, and every process is told. Where it names no pause, ours doubles
-- with each time; what the runs under way are told at the same moment counts once.
WITH held AS (
    SELECT connection_id, paused_until,
           CASE WHEN %(pause_seconds)s::float8 IS NOT NULL THEN 0
                WHEN paused_until > clock_timestamp() THEN throttles
                WHEN paused_until > clock_timestamp() - make_interval(secs => %(memory_seconds)s) THEN throttles + 1
                ELSE 1 END AS throttles
      FROM sync.budgets
     WHERE connection_id = %(connection_id)s
       FOR UPDATE),
paused AS (
    UPDATE sync.budgets AS budget
       SET throttles = held.throttles,
           paused_until = greatest(held.paused_until, clock_timestamp() + make_interval(secs => coalesce(
               %(pause_seconds)s::float8,
               least(%(throttled_max)s::float8,
                     %(throttled_min)s::float8 * 2 ^ least(16, greatest(0, held.throttles - 1))))))
      FROM held
     WHERE budget.connection_id = held.connection_id
    RETURNING budget.connection_id, extract(epoch FROM budget.paused_until - clock_timestamp())::float8 AS seconds)
SELECT seconds,
       pg_notify('bankmirror_paused', json_build_object('connection_id', connection_id, 'seconds', seconds)::text) AS told
  FROM paused;
