-- What the read API's door asks.

-- name: use_spend
-- Tell what tokens have used here; what all processes together have let them use. Under the same number it counts once.
-- In the role that writes receipts.
SELECT token_id, minute, requests, day, bytes
  FROM access.spend(%(worker)s::text, %(batch)s::bigint, %(token_ids)s::text[], %(minutes)s::bigint[],
                    %(requests)s::bigint[], %(days)s::bigint[], %(bytes)s::bigint[]);

-- name: tokens_select
-- The tokens with these ids, as far as there are such.
SELECT asked.token_id, token.*
  FROM unnest(%(token_ids)s::text[]) AS asked (token_id)
 CROSS JOIN LATERAL access.token(asked.token_id) AS token;
