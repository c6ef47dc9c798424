-- Up to when the mirror is kept.

-- name: clock_move
-- Move the mark to now; once a second is enough, whoever does it.
SELECT sync.move_clock() FROM sync.clock WHERE mark < clock_timestamp() - interval '0.9 seconds';
