-- What the read API writes down, in a role that can do nothing else.

-- name: reads_note
-- One batch of receipts; the arrays are columns, a receipt is one place in all of them.
SELECT audit.note_reads(
    %(worker)s::text, %(batch)s::bigint, %(keep_days)s::integer, %(token_ids)s::text[], %(callers)s::text[], %(targets)s::text[],
    %(statuses)s::smallint[], %(versions)s::text[], %(results)s::bytea[], %(first_ats)s::timestamptz[],
    %(last_ats)s::timestamptz[], %(counts)s::bigint[]);
