-- What the read API tells ingest, and what it may expect of it.

-- name: demand_notify
-- Say which accounts are read, so that they are polled at the quick pace; a hint that nobody waits for.
SELECT pg_notify('bankmirror_demand', %(payload)s);

-- name: polls_behind
-- Which of these accounts (null: of all that are seen) have a feed that was not read for so many seconds, and in how many
-- seconds the next of these feeds is asked; null if none is. Negative while it is being asked.
SELECT coalesce(array_agg(DISTINCT poll.account_id), '{}') AS account_ids,
       extract(epoch FROM min(poll.due_at) - now())::float8 AS due_seconds
  FROM read.polls AS poll
 WHERE (%(account_ids)s::text[] IS NULL OR poll.account_id = ANY (%(account_ids)s::text[]))
   AND (poll.synced_at IS NULL OR poll.synced_at <= now() - make_interval(secs => %(age_max_seconds)s::float8));
