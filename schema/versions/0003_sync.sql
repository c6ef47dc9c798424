-- How the mirror is kept.

CREATE TABLE sync.connections (
    connection_id   text PRIMARY KEY CHECK (connection_id ~ '^[a-z][a-z0-9_-]{0,30}$'),
    bank            text NOT NULL,
    bank_id         text NOT NULL,
    base_url        text NOT NULL,
    capabilities    jsonb NOT NULL,
    first_seen_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sync.connections IS 'A bank that we read, with the address it is read at and what its interface can do.';
COMMENT ON COLUMN sync.connections.bank_id IS
    'What tells this bank from every other one: a name that is given, else its address. Once there is data, it stays.';

CREATE TABLE sync.targets (
    connection_id       text NOT NULL REFERENCES sync.connections,
    account_id          text NOT NULL DEFAULT '',
    feed                text NOT NULL CHECK (feed IN ('accounts', 'balances', 'transactions')),
    -- where we are in the bank's data
    cursor              text,
    checkpoint          text,
    complete            boolean NOT NULL DEFAULT false,
    -- when to ask again, and who is asking now
    interval_seconds    double precision NOT NULL CHECK (interval_seconds > 0),
    due_at              timestamptz NOT NULL DEFAULT now(),
    lease_holder        text,
    lease_epoch         bigint NOT NULL DEFAULT 0,
    lease_until         timestamptz NOT NULL DEFAULT '-infinity',
    -- how it went
    attempted_at        timestamptz,
    synced_at           timestamptz,
    bank_as_of          timestamptz,
    fresh_until         timestamptz,
    failures            integer NOT NULL DEFAULT 0,
    failing_since       timestamptz,
    last_error          text,
    parked_reason       text,
    in_use              boolean NOT NULL DEFAULT true,
    PRIMARY KEY (connection_id, account_id, feed)
);
CREATE INDEX targets_due ON sync.targets (due_at) WHERE parked_reason IS NULL AND in_use;
COMMENT ON TABLE sync.targets IS 'What is polled: one row for each feed of a connection, or of an account where the bank has no feed for all.';
COMMENT ON COLUMN sync.targets.account_id IS 'Empty for a feed that covers the whole connection.';
COMMENT ON COLUMN sync.targets.cursor IS 'The bank''s cursor after the last complete pass; saved by the transaction that stored its rows.';
COMMENT ON COLUMN sync.targets.checkpoint IS 'How far a pass that is applied in chunks has come. Null when no such pass is under way.';
COMMENT ON COLUMN sync.targets.complete IS 'Whether everything the bank has was stored at least once. Until then answers are partial.';
COMMENT ON COLUMN sync.targets.lease_epoch IS 'Moves on with every claim. Whoever writes under an older epoch is refused: it was only asleep.';
COMMENT ON COLUMN sync.targets.synced_at IS 'When the bank last confirmed this feed to us.';
COMMENT ON COLUMN sync.targets.fresh_until IS 'Two missed polls after synced_at; past it, answers from this feed are stale.';
COMMENT ON COLUMN sync.targets.parked_reason IS 'Why this is not polled any more, e.g. the bank says that the account is gone.';
COMMENT ON COLUMN sync.targets.in_use IS
    'False while this feed is read the other way: for all accounts at once, or for each. Then it says nothing about any account.';

CREATE TABLE sync.runs (
    run_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id   text NOT NULL,
    account_id      text NOT NULL,
    feed            text NOT NULL,
    lease_epoch     bigint NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    outcome         text NOT NULL DEFAULT 'running' CHECK (outcome IN (
                        'running',    -- under way, or its process died
                        'complete',   -- terminal page reached and everything committed
                        'partial',    -- committed up to a checkpoint, goes on in the next run
                        'failed',     -- nothing was stored after the last checkpoint; error says why
                        'throttled',  -- the bank asked us to wait
                        'fenced'      -- another process took over while this one slept
                    )),
    pages           integer NOT NULL DEFAULT 0,
    rows_seen       bigint NOT NULL DEFAULT 0,
    rows_changed    bigint NOT NULL DEFAULT 0,
    rows_removed    bigint NOT NULL DEFAULT 0,
    rows_refused    bigint NOT NULL DEFAULT 0,
    cursor_from     text,
    cursor_to       text,
    bank_as_of      timestamptz,
    error           text,
    -- the transaction that stored what this run changed
    txid            xid8
);
CREATE INDEX runs_that_changed ON sync.runs (txid) WHERE txid IS NOT NULL;
CREATE INDEX runs_of_target ON sync.runs (connection_id, account_id, feed, run_id DESC);
COMMENT ON TABLE sync.runs IS 'Every poll: what it asked, what it stored, how it ended.';
COMMENT ON COLUMN sync.runs.txid IS
    'Null when no transactions changed. Runs commit out of order, so "what is new since" is asked of transaction ids, not of run ids.';

CREATE TABLE sync.coverage (
    account_id      text PRIMARY KEY,
    covered_from    date NOT NULL,
    covered_to      date NOT NULL,
    verified_at     timestamptz NOT NULL DEFAULT now(),
    run_id          bigint NOT NULL,
    CHECK (covered_from <= covered_to)
);
COMMENT ON TABLE sync.coverage IS 'The days of each account that a complete listing has covered, for banks that are read by listing.';

CREATE TABLE sync.missing (
    account_id      text NOT NULL,
    transaction_id  text NOT NULL,
    first_missed_at timestamptz NOT NULL DEFAULT now(),
    run_id          bigint NOT NULL,
    PRIMARY KEY (account_id, transaction_id)
);
COMMENT ON TABLE sync.missing IS 'Transactions that one complete listing did not show. Only a second one makes that a removal.';

CREATE TABLE sync.hidden_holds (
    account_id              text NOT NULL,
    transaction_id          text NOT NULL,
    amount_minor            bigint NOT NULL,
    currency                text NOT NULL,
    status                  text NOT NULL,
    type                    text NOT NULL,
    description             text NOT NULL,
    counterparty_name       text,
    counterparty_account_id text,
    client_reference        text,
    pending_transaction_id  text,
    created_at              timestamptz NOT NULL,
    booked_on               date,
    content_hash            bytea NOT NULL,
    PRIMARY KEY (account_id, transaction_id)
);
COMMENT ON TABLE sync.hidden_holds IS
    'Pending transactions that the bank still shows beside the posted ones that they became. Should the bank take a posted one back, its hold is in the mirror again.';

CREATE TABLE sync.quarantine (
    quarantine_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection_id   text NOT NULL,
    account_id      text NOT NULL,
    feed            text NOT NULL,
    transaction_id  text NOT NULL DEFAULT '',
    day             date,
    reason          text NOT NULL,
    raw             bytea NOT NULL,
    raw_sha256      bytea NOT NULL,
    first_seen_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at    timestamptz NOT NULL DEFAULT now(),
    run_id          bigint NOT NULL,
    resolved_at     timestamptz,
    UNIQUE (connection_id, account_id, feed, raw_sha256)
);
CREATE INDEX quarantine_open ON sync.quarantine (connection_id, account_id, feed) WHERE resolved_at IS NULL;
COMMENT ON TABLE sync.quarantine IS 'Rows of the bank that we refused, as they came, and why. While one is open, answers are partial.';
COMMENT ON COLUMN sync.quarantine.account_id IS 'Empty when the row does not say whose it is: then it casts doubt on the whole connection.';
COMMENT ON COLUMN sync.quarantine.transaction_id IS
    'Empty when the row has no usable one. Otherwise the entry is resolved when this transaction comes well, or is removed.';
COMMENT ON COLUMN sync.quarantine.day IS
    'The day that the bank lists the row under, where it can be read: a listing of that day which does not show it resolves the entry.';

GRANT SELECT, INSERT, UPDATE ON sync.connections, sync.targets, sync.runs, sync.coverage, sync.quarantine
    TO bankmirror_ingest;
GRANT SELECT, INSERT, DELETE ON sync.missing, sync.hidden_holds TO bankmirror_ingest;
-- A poll every few seconds leaves many runs that found nothing.
GRANT DELETE ON sync.runs TO bankmirror_ingest;
