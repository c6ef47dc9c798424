-- Pace: how often a feed is asked, how many requests a connection may make, and who asked for it.

ALTER TABLE sync.targets
    ADD COLUMN kind text NOT NULL GENERATED ALWAYS AS (
        CASE feed WHEN 'transactions' THEN 'transactions' ELSE 'listings' END) STORED,
    ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN demanded_at timestamptz,
    ADD COLUMN hastened_at timestamptz,
    ADD COLUMN circuit_opened_at timestamptz;
COMMENT ON COLUMN sync.targets.interval_seconds IS
    'The pause that is kept now between two polls: short while the feed changes or is read, longer the longer neither happened.';
COMMENT ON COLUMN sync.targets.fresh_until IS
    'Two missed polls, at the interval that is kept, after synced_at; past it, answers from this feed are stale.';
COMMENT ON COLUMN sync.targets.kind IS
    'What is claimed, and has requests set aside for it, apart from the other: listings of accounts and balances, and the histories.';
COMMENT ON COLUMN sync.targets.changed_at IS 'When a poll last found something new; a feed that is new counts as changed.';
COMMENT ON COLUMN sync.targets.demanded_at IS 'When somebody last read what this feed keeps: what is read is polled at the quick pace.';
COMMENT ON COLUMN sync.targets.hastened_at IS
    'When a poll was last asked for at once, by the bank or by a reader. A run that began before that is followed by another one.';
COMMENT ON COLUMN sync.targets.circuit_opened_at IS
    'Since when this account''s feed is only probed now and then: it kept failing while the bank answered for others. Null: closed.';

-- What is due is found in the order in which it became due, for transactions and for the rest apart, so that 20,000 overdue
-- accounts neither hide the balances nor have to be sorted for each claim.
CREATE INDEX targets_due_by_kind ON sync.targets (connection_id, kind, due_at)
    WHERE parked_reason IS NULL AND in_use;
DROP INDEX sync.targets_due;

CREATE TABLE sync.budgets (
    connection_id       text PRIMARY KEY REFERENCES sync.connections,
    -- requests that may be made at once; both levels rise with time, up to a cap
    reserved_permits    double precision NOT NULL DEFAULT 1 CHECK (reserved_permits >= 0),
    open_permits        double precision NOT NULL DEFAULT 1 CHECK (open_permits >= 0),
    filled_at           timestamptz NOT NULL DEFAULT now(),
    -- what the bank asked for
    paused_until        timestamptz NOT NULL DEFAULT '-infinity',
    throttles           integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE sync.budgets IS
    'What may be asked of a bank by all processes together: a bucket of requests that fills with time, and the pause that the bank asked for.';
COMMENT ON COLUMN sync.budgets.reserved_permits IS
    'Requests for accounts and balances, which transactions cannot take. What does not fit in here flows over to the open ones.';
COMMENT ON COLUMN sync.budgets.open_permits IS 'Requests for transactions. What does not fit in here flows over to the reserved ones.';
COMMENT ON COLUMN sync.budgets.filled_at IS 'When the levels were last brought up to date.';
COMMENT ON COLUMN sync.budgets.paused_until IS 'The bank said 429, and no process asks it anything before this moment.';
COMMENT ON COLUMN sync.budgets.throttles IS 'How often in a row the bank said 429 without naming a pause; ours doubles each time.';

CREATE TABLE sync.webhooks (
    signature       bytea PRIMARY KEY,
    connection_id   text NOT NULL REFERENCES sync.connections,
    event           text NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhooks_by_age ON sync.webhooks (received_at);
COMMENT ON TABLE sync.webhooks IS
    'Messages that the bank signed and that were taken, each once; kept for as long as the same one could still be replayed.';

GRANT SELECT, INSERT, UPDATE ON sync.budgets TO bankmirror_ingest;
GRANT SELECT, INSERT, DELETE ON sync.webhooks TO bankmirror_ingest;
