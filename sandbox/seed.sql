-- The history of a new bank. Everything is a function of the seed and of a row's number n: no random(), so the same seed
-- on the same day gives the same bank. Loaded slice by slice of time, so that ten million rows need no more memory
-- than a slice; all slices are one transaction, so a bank is never half a bank.

-- name: stage_create
-- What the slices draw from. Gone at commit.
CREATE TEMP TABLE seed_cards (
  place integer PRIMARY KEY, account_id text NOT NULL, currency text NOT NULL, minor_per_dollar integer NOT NULL
) ON COMMIT DROP;
CREATE TEMP TABLE seed_names (
  kind text NOT NULL, place integer NOT NULL, name text NOT NULL, descriptor text NOT NULL,
  low_cents integer NOT NULL, high_cents integer NOT NULL, PRIMARY KEY (kind, place)
) ON COMMIT DROP;
CREATE TEMP TABLE seed_standing (
  created_at timestamptz NOT NULL, account_id text NOT NULL, amount_cents bigint NOT NULL, type text NOT NULL,
  description text NOT NULL, booked_on date NOT NULL, counterparty_name text, counterparty_account_id text
) ON COMMIT DROP;

-- name: stage_standing_copy
-- Standing orders are made by schedule.py, as they are when the bank lives.
COPY seed_standing (created_at, account_id, amount_cents, type, description, booked_on,
                    counterparty_name, counterparty_account_id) FROM STDIN;

-- name: stage_cards_insert
-- The accounts that everyday business runs over, some at several places.
INSERT INTO seed_cards SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
  place integer, account_id text, currency text, minor_per_dollar integer);

-- name: stage_names_insert
-- Whom everyday business is with.
INSERT INTO seed_names SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
  kind text, place integer, name text, descriptor text, low_cents integer, high_cents integer);

-- name: history_insert
-- One slice: everyday rows first+1..last of `total`, spread evenly over the span, and the standing orders between them.
-- Every 97th row reverses the row three before it: the same account, text and amount again, with the other sign.
WITH numbered AS (
  SELECT n, n %% 97 = 0 AS reverses, CASE WHEN n %% 97 = 0 THEN n - 3 ELSE n END AS m
    FROM generate_series(%(first)s::bigint + 1, %(last)s::bigint) AS n
), drawn AS (
  SELECT n, m, reverses,
         (hashint8extended(m, %(seed)s) & 9223372036854775807) AS draw,
         (hashint8extended(m, %(seed)s + 1) & 9223372036854775807) AS draw_kind,
         (hashint8extended(m, %(seed)s + 2) & 9223372036854775807) AS draw_amount,
         (hashint8extended(n, %(seed)s + 3) & 9223372036854775807) AS draw_time
    FROM numbered
), kinds AS (
  SELECT *, CASE WHEN draw_kind %% 100 < 66 THEN 'card' WHEN draw_kind %% 100 < 80 THEN 'receipt'
                 WHEN draw_kind %% 100 < 92 THEN 'bill' WHEN draw_kind %% 100 < 97 THEN 'refund' ELSE 'fee' END AS kind,
         %(began)s::timestamptz + %(span)s::interval * ((n - 1 + (draw_time %% 1000) / 1000.0::float8) / %(total)s)
           AS created_at
    FROM drawn
), everyday AS (
  SELECT k.created_at, c.account_id, c.currency,
         (CASE WHEN k.kind IN ('receipt', 'refund') THEN 1 ELSE -1 END) * (CASE WHEN k.reverses THEN -1 ELSE 1 END)
           * greatest((w.low_cents + k.draw_amount %% (w.high_cents - w.low_cents + 1)) * c.minor_per_dollar / 100, 1)
           AS amount_cents,
         CASE WHEN k.reverses THEN 'reversal' WHEN k.kind IN ('receipt', 'bill') THEN 'ach' ELSE k.kind END AS type,
         (CASE WHEN k.reverses THEN 'REVERSAL ' ELSE '' END) ||
         (CASE k.kind WHEN 'receipt' THEN 'ACH CREDIT ' || w.descriptor || ' INV-' || 1000 + k.draw_amount %% 9000
                      WHEN 'bill' THEN 'ACH DEBIT ' || w.descriptor || ' ' || 100000 + k.draw_amount %% 900000
                      WHEN 'refund' THEN 'REFUND ' || w.descriptor
                      ELSE w.descriptor END) AS description,
         nullif(w.name, '') AS counterparty_name, NULL::text AS counterparty_account_id,
         -- A tenth is booked for the day before, a thirtieth came days late.
         (k.created_at AT TIME ZONE 'UTC')::date - (CASE WHEN k.draw_time %% 30 = 0 THEN 2 + k.draw_time %% 11
                                                         WHEN k.draw_time %% 10 = 1 THEN 1 ELSE 0 END)::integer AS booked_on,
         CASE WHEN k.kind = 'card' AND NOT k.reverses AND k.draw_kind %% 5 < 3
              THEN 'txn_' || substr(md5(%(seed)s || ':hold:' || k.n), 1, 20) END AS pending_transaction_id
    FROM kinds AS k
    JOIN seed_cards AS c ON c.place = k.draw %% (SELECT count(*) FROM seed_cards)
    JOIN seed_names AS w ON w.kind = CASE WHEN k.kind = 'refund' THEN 'card' ELSE k.kind END
     AND w.place = k.draw / 100003 %% CASE k.kind WHEN 'receipt' THEN %(customers)s WHEN 'bill' THEN %(vendors)s
                                                  WHEN 'fee' THEN 1 ELSE %(merchants)s END
), slice AS (
  SELECT * FROM everyday
  UNION ALL
  SELECT s.created_at, s.account_id, a.currency, s.amount_cents, s.type, s.description, s.counterparty_name,
         s.counterparty_account_id, s.booked_on, NULL
    FROM seed_standing AS s JOIN bank.accounts AS a USING (account_id)
   WHERE s.created_at > %(standing_after)s AND s.created_at <= %(standing_until)s
), placed AS (
  SELECT *, %(head)s + row_number() OVER (ORDER BY created_at, account_id COLLATE "C", amount_cents,
                                                   description COLLATE "C") AS position FROM slice
)
INSERT INTO bank.transactions (
       position, born, transaction_id, account_id, amount_cents, currency, status, type, description,
       counterparty_name, counterparty_account_id, created_at, booked_on, pending_transaction_id)
SELECT position, position, bank.transaction_id(%(seed)s, position), account_id, amount_cents, currency, 'posted', type,
       description, counterparty_name, counterparty_account_id, created_at, booked_on, pending_transaction_id
  FROM placed ORDER BY position;

-- name: openings_insert
-- Every account was opened with a deposit: what makes today's balance the one that was asked for.
-- They take the first positions of the log, and balances are set once; from here on the trigger keeps them.
WITH wanted AS (
  SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (account_id text, balance_cents bigint)
), totals AS (
  SELECT account_id, sum(amount_cents)::bigint AS cents FROM bank.transactions GROUP BY account_id
), openings AS (
  SELECT a.account_id, a.ordinal, a.currency, coalesce(t.cents, 0) AS later_cents,
         greatest(w.balance_cents - coalesce(t.cents, 0), 1) AS amount_cents
    FROM bank.accounts AS a JOIN wanted AS w USING (account_id) LEFT JOIN totals AS t USING (account_id)
), booked AS (
  INSERT INTO bank.transactions (
         position, born, transaction_id, account_id, amount_cents, currency, status, type, description,
         created_at, booked_on)
  SELECT ordinal, ordinal, bank.transaction_id(%(seed)s, ordinal), account_id, amount_cents, currency, 'posted', 'deposit',
         'OPENING DEPOSIT', %(began)s, (%(began)s::timestamptz AT TIME ZONE 'UTC')::date
    FROM openings
)
UPDATE bank.accounts AS a SET current_cents = o.later_cents + o.amount_cents
  FROM openings AS o WHERE a.account_id = o.account_id;
