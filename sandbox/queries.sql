-- Every statement the sandbox bank runs, as `-- name: noun_verb`, what it is for, and the statement.
-- Parameters are psycopg's. Pages are rendered to JSON text here and go to the client as they are.

-- name: account_get
-- One account as it goes over the wire, and its balance, or no row.
SELECT json_build_object('account_id', a.account_id, 'name', a.name, 'type', a.type,
                         'currency', a.currency, 'status', a.status)::text AS account,
       b.wire::text AS balance, a.gone
  FROM bank.accounts AS a JOIN bank.balance_wire AS b USING (account_id)
 WHERE a.account_id = %(account_id)s;

-- name: accounts_living
-- The accounts that life happens to: the oldest ones. A bound, because every tick reads them.
SELECT account_id, ordinal, name, type, currency, status, current_cents + held_cents AS available_cents
  FROM bank.accounts ORDER BY ordinal LIMIT 200;

-- name: accounts_lock
-- The accounts of a payment, locked in one order whoever pays whom.
SELECT account_id, ordinal, name, type, currency, status, current_cents + held_cents AS available_cents
  FROM bank.accounts WHERE account_id = ANY (%(account_ids)s::text[]) ORDER BY account_id FOR UPDATE;

-- name: accounts_open
-- The accounts a new bank begins with.
INSERT INTO bank.accounts (account_id, ordinal, name, type, currency, status, available_told)
SELECT r.account_id, r.ordinal, r.name, r.type, r.currency, r.status, r.available_told
  FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
       account_id text, ordinal integer, name text, type text, currency text, status text, available_told boolean);

-- name: accounts_page
-- Accounts or balances after an id, in id order.
WITH page AS (
  SELECT a.account_id,
         row_number() OVER (ORDER BY a.account_id) AS place,
         CASE WHEN %(balances)s THEN (SELECT wire FROM bank.balance_wire AS b WHERE b.account_id = a.account_id)
         ELSE
           json_build_object('account_id', a.account_id, 'name', a.name, 'type', a.type,
                             'currency', a.currency, 'status', a.status)
         END AS wire
    FROM (SELECT * FROM bank.accounts
           WHERE account_id > %(after)s AND NOT (%(balances)s AND (gone OR balance_told = 'absent'))
           ORDER BY account_id LIMIT %(limit)s + 1) AS a
)
SELECT coalesce(string_agg(wire::text, ',' ORDER BY place) FILTER (WHERE place <= %(limit)s), '') AS data,
       count(*) > %(limit)s AS has_more,
       max(account_id) FILTER (WHERE place <= %(limit)s) AS last_id
  FROM page;

-- name: changes_page
-- One page of the change feed, one round trip. The head is of the same snapshot as the rows.
-- A tombstone is left out when the client cannot have seen the row: it was born after what the client has read,
-- or it was born and removed between the beginning of the client's knowledge and the beginning of this loop.
WITH ledger AS (
  SELECT epoch, head, strict_pagination FROM bank.ledger
), page AS (
  (SELECT position, born, false AS gone, wire
     FROM bank.wire WHERE position > %(after)s ORDER BY position LIMIT %(limit)s + 1)
  UNION ALL
  (SELECT position, born, true AS gone,
          json_build_object('transaction_id', transaction_id, 'account_id', account_id) AS wire
     FROM bank.removals
    WHERE position > %(after)s AND born <= %(after)s
      AND NOT (born > %(began)s AND position <= coalesce(%(loop_head)s, (SELECT head FROM ledger)))
    ORDER BY position LIMIT %(limit)s + 1)
  ORDER BY position LIMIT %(limit)s + 1
), kept AS (
  SELECT * FROM page ORDER BY position LIMIT %(limit)s
)
SELECT l.epoch, l.head, l.strict_pagination,
       (SELECT count(*) FROM page) > %(limit)s AS has_more,
       k.last_position, k.added, k.modified, k.removed
  FROM ledger AS l,
       (SELECT max(position) AS last_position,
               coalesce(string_agg(wire::text, ',') FILTER (WHERE NOT gone AND born > %(began)s), '') AS added,
               coalesce(string_agg(wire::text, ',') FILTER (WHERE NOT gone AND born <= %(began)s), '') AS modified,
               coalesce(string_agg(wire::text, ',') FILTER (WHERE gone), '') AS removed
          FROM kept) AS k;

-- name: holds_due
-- Pending transactions whose time has come, with what is to become of them.
SELECT h.due_at, h.outcome, t.transaction_id, t.account_id, t.amount_cents, t.type, t.description, t.created_at,
       t.booked_on, t.counterparty_name, t.counterparty_account_id
  FROM bank.holds AS h JOIN bank.transactions AS t USING (transaction_id)
 WHERE h.due_at <= %(until)s ORDER BY h.due_at, h.transaction_id LIMIT 5000;

-- name: holds_drop
-- Holds that were settled or released.
DELETE FROM bank.holds WHERE transaction_id = ANY (%(transaction_ids)s::text[]);

-- name: holds_place
-- What will become of the pending transactions that were just booked.
INSERT INTO bank.holds (transaction_id, due_at, outcome)
SELECT bank.transaction_id(l.seed, r.position), r.due_at, r.outcome
  FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (position bigint, due_at timestamptz, outcome text), bank.ledger AS l
 WHERE r.outcome IS NOT NULL;

-- name: key_find
-- The answer given under a key that is still remembered.
SELECT fingerprint, status, body FROM bank.idempotency_keys
 WHERE key = %(key)s AND created_at > now() - make_interval(secs => %(retention_seconds)s);

-- name: key_save
-- Remember the answer; an expired key is used anew.
INSERT INTO bank.idempotency_keys (key, fingerprint, status, body)
VALUES (%(key)s, %(fingerprint)s, %(status)s, %(body)s)
ON CONFLICT (key) DO UPDATE
   SET fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body, created_at = now();

-- name: key_try_lock
-- Is nobody else working under this key? Held until the transaction ends.
SELECT pg_try_advisory_xact_lock(hashtextextended('key:' || %(key)s, 0)) AS locked;

-- name: keys_forget
-- Expired keys, a bounded number at a time.
DELETE FROM bank.idempotency_keys WHERE key IN (
  SELECT key FROM bank.idempotency_keys
   WHERE created_at <= now() - make_interval(secs => %(retention_seconds)s) ORDER BY created_at LIMIT 1000);

-- name: ledger_advance
-- The writer's last statement: the log's new head and the bank's new time.
UPDATE bank.ledger SET head = head + %(changes)s, bank_time = greatest(bank_time, %(bank_time)s),
                       tick = tick + %(ticks)s;

-- name: ledger_exists
-- Is this database a bank already?
SELECT to_regclass('bank.ledger') IS NOT NULL AS found;

-- name: ledger_get
-- The ledger as it is.
SELECT seed, bank_time, tick, head, epoch, strict_pagination FROM bank.ledger;

-- name: ledger_lock
-- The writer's first statement: one writer at a time, so that commit order is position order.
SELECT seed, bank_time, tick, head, epoch, strict_pagination FROM bank.ledger FOR UPDATE;

-- name: ledger_open
-- A new bank's only ledger row.
INSERT INTO bank.ledger (seed, bank_time, head) VALUES (%(seed)s, %(bank_time)s, %(head)s);

-- name: ledger_reset_feed
-- Every cursor given out so far has expired.
UPDATE bank.ledger SET epoch = epoch + 1 RETURNING epoch;

-- name: ledger_set_strict
-- Whether a loop over several pages fails when the head moves.
UPDATE bank.ledger SET strict_pagination = %(strict_pagination)s RETURNING strict_pagination;

-- name: life_try_lead
-- One process lives; the lock goes with the session, and the session is the one that writes.
SELECT pg_try_advisory_lock(hashtextextended('bank.life', 0)) AS leading;

-- name: purchases_recent
-- Posted purchases that chance may refund, reverse or correct: among the last changes of the log.
SELECT transaction_id, account_id, amount_cents, type, description, created_at, booked_on,
       counterparty_name, counterparty_account_id
  FROM bank.transactions
 WHERE position > %(head)s - 500 AND type = 'card' AND status = 'posted' AND amount_cents < 0
 ORDER BY position DESC LIMIT 40;

-- name: setup_lock
-- Two processes that start at once make one bank.
SELECT pg_advisory_xact_lock(hashtextextended('bank.setup', 0));

-- name: transaction_get
-- One transaction as it goes over the wire, or no row.
SELECT wire::text AS wire FROM bank.wire WHERE transaction_id = %(transaction_id)s;

-- name: transaction_get_born
-- The transaction that was just booked at a position.
SELECT wire::text AS wire FROM bank.wire WHERE position = %(position)s;

-- name: transactions_amend
-- Change rows in place. A hold that is booked becomes posted.
UPDATE bank.transactions AS t
   SET position = r.position, amount_cents = coalesce(r.amount_cents, t.amount_cents),
       description = coalesce(r.description, t.description), booked_on = coalesce(r.booked_on, t.booked_on),
       status = CASE WHEN r.booked_on IS NULL THEN t.status ELSE 'posted' END
  FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
       position bigint, transaction_id text, amount_cents bigint, description text, booked_on date)
 WHERE t.transaction_id = r.transaction_id;

-- name: transactions_book
-- New rows at positions that the caller has taken under the ledger's lock.
INSERT INTO bank.transactions (
       position, born, transaction_id, account_id, amount_cents, currency, status, type, description,
       counterparty_name, counterparty_account_id, created_at, booked_on, pending_transaction_id, client_reference)
SELECT r.position, r.position, bank.transaction_id(l.seed, r.position), r.account_id, r.amount_cents, a.currency,
       CASE WHEN r.booked_on IS NULL THEN 'pending' ELSE 'posted' END, r.type, r.description,
       r.counterparty_name, r.counterparty_account_id, r.created_at, r.booked_on, r.pending_transaction_id,
       r.client_reference
  FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
       position bigint, account_id text, amount_cents bigint, type text, description text, counterparty_name text,
       counterparty_account_id text, created_at timestamptz, booked_on date, pending_transaction_id text,
       client_reference text)
  JOIN bank.accounts AS a USING (account_id), bank.ledger AS l;

-- name: transactions_page
-- The listing, oldest first. A filter that is NULL is planned away: plans are made for the values at hand.
WITH page AS (
  SELECT day, transaction_id, wire, row_number() OVER (ORDER BY day, transaction_id) AS place
    FROM (SELECT day, transaction_id, wire FROM bank.wire
           WHERE (%(account_id)s::text IS NULL OR account_id = %(account_id)s)
             AND (%(status)s::text IS NULL OR status = %(status)s)
             AND (%(client_reference)s::text IS NULL OR client_reference = %(client_reference)s)
             AND (%(from_day)s::date IS NULL OR day >= %(from_day)s)
             AND (%(to_day)s::date IS NULL OR day <= %(to_day)s)
             AND (%(after_day)s::date IS NULL OR (day, transaction_id) > (%(after_day)s, %(after_id)s))
           ORDER BY day, transaction_id LIMIT %(limit)s + 1) AS found
)
SELECT coalesce(string_agg(wire::text, ',' ORDER BY place) FILTER (WHERE place <= %(limit)s), '') AS data,
       count(*) > %(limit)s AS has_more,
       coalesce((SELECT gone FROM bank.accounts WHERE account_id = %(account_id)s::text), false) AS gone,
       (array_agg(day ORDER BY place DESC) FILTER (WHERE place <= %(limit)s))[1] AS last_day,
       (array_agg(transaction_id ORDER BY place DESC) FILTER (WHERE place <= %(limit)s))[1] AS last_id
  FROM page;

-- name: transactions_remove
-- Take rows off the books, leaving tombstones.
WITH gone AS (
  DELETE FROM bank.transactions AS t
   USING jsonb_to_recordset(%(rows)s::jsonb) AS r (position bigint, transaction_id text)
   WHERE t.transaction_id = r.transaction_id
  RETURNING r.position, t.born, t.transaction_id, t.account_id
)
INSERT INTO bank.removals (position, born, transaction_id, account_id) SELECT * FROM gone;

-- name: webhook_add
-- Register a URL, once.
INSERT INTO bank.webhooks (webhook_id, url) VALUES ('wh_' || substr(md5(%(url)s), 1, 16), %(url)s)
ON CONFLICT (url) DO UPDATE SET url = excluded.url
RETURNING json_build_object('webhook_id', webhook_id, 'url', url, 'created_at', created_at,
                            'delivered', delivered, 'failed', failed)::text AS wire;

-- name: webhook_count
-- How a delivery ended.
UPDATE bank.webhooks SET delivered = delivered + %(delivered)s, failed = failed + %(failed)s WHERE url = %(url)s;

-- name: webhook_remove
-- Forget a URL.
DELETE FROM bank.webhooks WHERE webhook_id = %(webhook_id)s RETURNING webhook_id;

-- name: webhooks_list
-- Registered URLs. At most a hundred: this is a sandbox.
SELECT coalesce(string_agg(json_build_object('webhook_id', webhook_id, 'url', url, 'created_at', created_at,
                                             'delivered', delivered, 'failed', failed)::text,
                           ',' ORDER BY created_at, webhook_id), '') AS data
  FROM (SELECT * FROM bank.webhooks ORDER BY created_at, webhook_id LIMIT 100) AS registered;

-- name: webhooks_urls
-- Where to send.
SELECT url FROM bank.webhooks ORDER BY created_at, webhook_id LIMIT 100;
