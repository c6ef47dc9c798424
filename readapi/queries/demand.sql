-- What the read API tells ingest.

-- name: demand_notify
-- Say which accounts are read, so that they are polled at the quick pace; a hint that nobody waits for.
SELECT pg_notify('bankmirror_demand', %(payload)s);
