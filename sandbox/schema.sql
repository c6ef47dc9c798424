-- The bank's books. Applied at every start, so every statement can be run again; indexes.sql follows after the
-- history is loaded, because a loaded table is indexed several times faster than an indexed table is loaded.
CREATE SCHEMA IF NOT EXISTS bank;

-- One row: the bank's clock and the head of its log.
-- Every writer locks this row before it changes anything and holds it until it commits. That makes positions gap-free
-- and makes them visible in order: a reader that sees head = 7 sees everything up to 7 and nothing beyond.
CREATE TABLE IF NOT EXISTS bank.ledger (
  only_row           boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  seed               bigint NOT NULL,
  bank_time          timestamptz NOT NULL,             -- The books are complete up to here. Never goes backwards.
  tick               bigint NOT NULL DEFAULT 0,        -- How often time has moved; the source of all chance, with the seed.
  head               bigint NOT NULL CHECK (head >= 0),
  epoch              bigint NOT NULL DEFAULT 1,        -- A feed reset adds one: cursors of older epochs have expired.
  strict_pagination  boolean NOT NULL DEFAULT false    -- Does page 2 answer 409 when the head moved since page 1?
);

CREATE TABLE IF NOT EXISTS bank.accounts (
  account_id     text COLLATE "C" PRIMARY KEY,
  ordinal        integer NOT NULL UNIQUE,              -- In the order of opening.
  name           text NOT NULL,
  type           text NOT NULL CHECK (type IN ('checking', 'savings')),
  currency       text NOT NULL CHECK (currency IN ('USD', 'EUR', 'JPY', 'KWD')),
  status         text NOT NULL CHECK (status IN ('open', 'closed')),
  available_told boolean NOT NULL DEFAULT true,        -- Some banks do not say what is available on savings.
  current_cents  bigint NOT NULL DEFAULT 0,            -- The sum of the posted transactions,
  held_cents     bigint NOT NULL DEFAULT 0             -- and of the pending ones that take money: kept by the trigger.
);

-- Now: what the bank would show of each transaction. What it showed before is gone, as at real banks.
CREATE TABLE IF NOT EXISTS bank.transactions (
  position                bigint NOT NULL,             -- In the log: the last change of this row,
  born                    bigint NOT NULL,             -- and its first appearance.
  transaction_id          text COLLATE "C" NOT NULL,
  account_id              text COLLATE "C" NOT NULL,
  amount_cents            bigint NOT NULL,             -- Minor units of the currency, whatever its exponent. Out is negative.
  currency                text NOT NULL,
  status                  text NOT NULL CHECK (status IN ('pending', 'posted')),
  type                    text NOT NULL,
  description             text NOT NULL,
  counterparty_name       text,
  counterparty_account_id text,
  created_at              timestamptz NOT NULL,
  booked_on               date,
  pending_transaction_id  text,                        -- The hold that this row settled, which is removed.
  client_reference        text,
  day                     date NOT NULL GENERATED ALWAYS AS
                            (coalesce(booked_on, (created_at AT TIME ZONE 'UTC')::date)) STORED,
  CONSTRAINT booked_exactly_when_posted CHECK ((status = 'posted') = (booked_on IS NOT NULL))
);

-- Tombstones, for the change feed.
CREATE TABLE IF NOT EXISTS bank.removals (
  position       bigint PRIMARY KEY,
  born           bigint NOT NULL,
  transaction_id text NOT NULL UNIQUE,
  account_id     text NOT NULL
);

-- What will become of each pending transaction, and when.
CREATE TABLE IF NOT EXISTS bank.holds (
  transaction_id text COLLATE "C" PRIMARY KEY,
  due_at         timestamptz NOT NULL,
  outcome        text NOT NULL CHECK (outcome IN (
    'replaced',                                        -- Removed, and posted under another id that points at it.
    'posted',                                          -- Posted in place, under its own id.
    'released'                                         -- Removed: the merchant never claimed it.
  ))
);

-- Answers to payments, kept for a day of real time. A decline is an answer too.
CREATE TABLE IF NOT EXISTS bank.idempotency_keys (
  key         text PRIMARY KEY,
  fingerprint text NOT NULL,                           -- sha256 of the order in canonical form.
  status      integer NOT NULL,
  body        text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS bank.webhooks (
  webhook_id  text PRIMARY KEY,
  url         text NOT NULL UNIQUE,
  created_at  timestamptz NOT NULL DEFAULT now(),
  delivered   bigint NOT NULL DEFAULT 0,
  failed      bigint NOT NULL DEFAULT 0                -- Given up after the last retry.
);

-- What chaos did to accounts: not told of any more (410), and how their balance is told.
ALTER TABLE bank.accounts
  ADD COLUMN IF NOT EXISTS gone boolean NOT NULL DEFAULT false,
  ADD COLUMN IF NOT EXISTS balance_told text NOT NULL DEFAULT 'told' CHECK (balance_told IN ('told', 'null', 'absent')),
  ADD COLUMN IF NOT EXISTS balance_lag interval NOT NULL DEFAULT '0';

-- Transactions that chaos took off the books and may put back, as they were.
CREATE TABLE IF NOT EXISTS bank.removed_rows (
  transaction_id text PRIMARY KEY,
  content        jsonb NOT NULL                        -- A row of bank.transactions.
);

-- Ids look random, and are the same again for the same seed.
CREATE OR REPLACE FUNCTION bank.transaction_id(seed bigint, born bigint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN 'txn_' || substr(md5(seed::text || ':' || born::text), 1, 20);

-- A transaction as it goes over the wire, in one column that costs nothing until it is selected.
-- Rendering takes about 5 µs a row; keeping the text would save 4 of them and add 4 GB to ten million rows.
CREATE OR REPLACE VIEW bank.wire AS
SELECT t.position, t.born, t.transaction_id, t.account_id, t.day, t.status, t.client_reference,
       row_to_json((SELECT w FROM (SELECT
         t.transaction_id, t.account_id, t.amount_cents, t.currency, t.status, t.type, t.description,
         CASE WHEN t.counterparty_name IS NOT NULL
              THEN row_to_json((SELECT c FROM (SELECT t.counterparty_name AS name,
                                                      t.counterparty_account_id AS account_id) AS c))
         END AS counterparty,
         t.created_at, t.booked_on, t.pending_transaction_id, t.client_reference) AS w)) AS wire
  FROM bank.transactions AS t;

-- A balance as it goes over the wire. One that lags is of some time ago: without what was posted since.
CREATE OR REPLACE VIEW bank.balance_wire AS
SELECT a.account_id,
       json_build_object(
         'account_id', a.account_id, 'currency', a.currency,
         'current_cents', CASE WHEN a.balance_told = 'null' THEN NULL
                               WHEN a.balance_lag = '0' THEN a.current_cents
                               ELSE a.current_cents - coalesce((
                                 SELECT sum(t.amount_cents)::bigint FROM bank.transactions AS t
                                  WHERE t.account_id = a.account_id AND t.status = 'posted'
                                    AND t.created_at > l.bank_time - a.balance_lag), 0) END,
         'available_cents', CASE WHEN a.available_told AND a.balance_told = 'told' AND a.balance_lag = '0'
                                 THEN a.current_cents + a.held_cents END,
         'as_of', l.bank_time - a.balance_lag) AS wire
  FROM bank.accounts AS a, bank.ledger AS l;

-- Balances move together with rows, in the same transaction, whoever writes the rows.
CREATE OR REPLACE FUNCTION bank.balances_follow() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP IN ('INSERT', 'UPDATE') THEN
    UPDATE bank.accounts AS a
       SET current_cents = a.current_cents + moved.posted, held_cents = a.held_cents + moved.held
      FROM (SELECT account_id,
                   coalesce(sum(amount_cents) FILTER (WHERE status = 'posted'), 0)::bigint AS posted,
                   coalesce(sum(least(amount_cents, 0)) FILTER (WHERE status = 'pending'), 0)::bigint AS held
              FROM new_rows GROUP BY account_id) AS moved
     WHERE a.account_id = moved.account_id;
  END IF;
  IF TG_OP IN ('UPDATE', 'DELETE') THEN
    UPDATE bank.accounts AS a
       SET current_cents = a.current_cents - moved.posted, held_cents = a.held_cents - moved.held
      FROM (SELECT account_id,
                   coalesce(sum(amount_cents) FILTER (WHERE status = 'posted'), 0)::bigint AS posted,
                   coalesce(sum(least(amount_cents, 0)) FILTER (WHERE status = 'pending'), 0)::bigint AS held
              FROM old_rows GROUP BY account_id) AS moved
     WHERE a.account_id = moved.account_id;
  END IF;
  RETURN NULL;
END $$;
