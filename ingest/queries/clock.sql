-- Up to when the mirror is kept.

-- name: clock_move
-- Move the mark to now; once a second is enough, whoever does it.
SELECT sync.move_clock() FROM sync.clock WHERE mark < clock_timestamp() - interval '0.9 seconds';

-- name: clock_seize
-- Move the mark to now and keep it there to the end of the transaction: what it says of targets is known from then on (see
-- sync.note_confirmation). Last of all locks, since no moment is closed meanwhile.
SELECT sync.move_clock();
