-- Identity: which ids are one and the same transaction or account, and how we know.
--
-- The mirror stays exactly what the bank shows, so identity is not a merge of rows: it is a link between two ids, with
-- the evidence it rests on. A link can be undone, and what is not certain is only ever suggested.

-- ── transactions ─────────────────────────────────────────────────────────────────────────────────────────────────────

ALTER TABLE snapshot.transaction_revisions
    DROP CONSTRAINT transaction_revisions_ended_by_check,
    ADD CONSTRAINT transaction_revisions_ended_by_check CHECK (ended_by IN (
        'changed',   -- the bank shows other fields under the same id
        'settled',   -- a pending entry became a posted one under another id
        'removed',   -- the bank said that it removed it
        'absent',    -- two complete passes did not find it any more
        'rekeyed'    -- the bank shows the same entry under another id, or its account under another one
    ));
COMMENT ON COLUMN snapshot.transaction_revisions.successor_id IS
    'The id under which the same money is shown since: the posted transaction that a settled pending one became, or the new id of a re-keyed one.';

-- What ended lately without a successor may still find one. Removals are rare, so this stays small.
CREATE INDEX transaction_revisions_ended_lately ON snapshot.transaction_revisions (known_to, account_id)
    WHERE ended_by IN ('removed', 'absent');
-- A posted entry that names no pending one is held against those that are open, a handful in an account.
CREATE INDEX transactions_pending ON snapshot.transactions (account_id) WHERE status = 'pending';

CREATE FUNCTION snapshot.fingerprint(
    status text, day date, amount_minor bigint, currency text, type text, description text, counterparty_name text,
    counterparty_account_id text, client_reference text) RETURNS text
-- A record's text tells null from empty and where a field ends, so no two entries that differ look alike.
LANGUAGE sql STABLE PARALLEL SAFE
RETURN md5(ROW(status, day, amount_minor, currency, type, description, counterparty_name, counterparty_account_id,
               client_reference)::text);
COMMENT ON FUNCTION snapshot.fingerprint IS
    'The fields of a transaction that stay when a bank gives it another id. Twins of one day share it: they are told apart by counting.';

CREATE TABLE snapshot.transaction_links (
    account_id      text NOT NULL,
    predecessor_id  text NOT NULL,
    successor_id    text NOT NULL CHECK (successor_id <> predecessor_id),
    kind            text NOT NULL CHECK (kind IN (
                        'settled',   -- the pending entry became the posted one
                        'rekeyed',   -- the bank gave the same entry another id
                        'same'       -- the bank shows one entry under two ids at once
                    )),
    evidence        text NOT NULL CHECK (evidence IN (
                        'provider-link',    -- the bank says so itself
                        'stable-id',        -- the same id elsewhere
                        'bank-reference',   -- the same client reference and amount
                        'fingerprint',      -- equal in all fields that stay, and in its number among twins
                        'resembles'         -- alike, but not equal
                    )),
    occurrence      integer CHECK (occurrence > 0),
    confidence      numeric(3, 2) NOT NULL CHECK (confidence > 0 AND confidence <= 1),
    state           text NOT NULL CHECK (state IN (
                        'linked',      -- certain enough to be made without asking
                        'suggested',   -- waits for somebody
                        'confirmed',   -- somebody said yes
                        'rejected',    -- somebody said no, or another link made it void
                        'undone'       -- it was made, and taken back
                    )),
    run_id          bigint NOT NULL,
    found_at        timestamptz NOT NULL DEFAULT now(),
    decided_at      timestamptz,
    decided_by      text,
    note            text,
    PRIMARY KEY (account_id, predecessor_id, successor_id),
    CHECK ((decided_at IS NULL) = (decided_by IS NULL)),
    CHECK (state IN ('linked', 'suggested') OR decided_by IS NOT NULL)
);
CREATE INDEX transaction_links_successor ON snapshot.transaction_links (account_id, successor_id);
CREATE INDEX transaction_links_suggested ON snapshot.transaction_links (account_id) WHERE state = 'suggested';
COMMENT ON TABLE snapshot.transaction_links IS
    'Two ids of one account that are the same money, how we know, and who decided. Links never merge or hide rows.';
COMMENT ON COLUMN snapshot.transaction_links.occurrence IS
    'Which of several equal entries of one day this is, counted in the order in which they were made.';
COMMENT ON COLUMN snapshot.transaction_links.confidence IS 'How sure the rule is, from 0 to 1; only for sorting what people look at.';
COMMENT ON COLUMN snapshot.transaction_links.decided_by IS
    'Who decided: a person, `bank` where the bank itself showed it, `ingest` where another link made this one void.';

-- What the bank linked before there were links.
INSERT INTO snapshot.transaction_links (
    account_id, predecessor_id, successor_id, kind, evidence, confidence, state, run_id, found_at)
SELECT DISTINCT ON (account_id, transaction_id, successor_id)
       account_id, transaction_id, successor_id, 'settled', 'provider-link', 1, 'linked', ended_run_id, known_to
  FROM snapshot.transaction_revisions
 WHERE ended_by = 'settled' AND successor_id <> transaction_id
 ORDER BY account_id, transaction_id, successor_id, known_to;

CREATE TABLE sync.newcomers (
    account_id      text NOT NULL,
    transaction_id  text NOT NULL,
    run_id          bigint NOT NULL,
    PRIMARY KEY (account_id, transaction_id)
);
COMMENT ON TABLE sync.newcomers IS
    'Transactions that a pass over everything shows for the first time. At its end those that are missing are looked for among them.';

-- ── accounts ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sync.account_links (
    account_id      text NOT NULL,
    listed_id       text NOT NULL CHECK (listed_id <> account_id),
    connection_id   text NOT NULL,
    name            text NOT NULL,
    type            text NOT NULL,
    currency        text NOT NULL,
    evidence        text NOT NULL DEFAULT 'resembles' CHECK (evidence IN ('stable-id', 'fingerprint', 'resembles')),
    rows_seen       bigint NOT NULL DEFAULT 0,
    rows_equal      bigint NOT NULL DEFAULT 0,
    state           text NOT NULL DEFAULT 'suggested'
                    CHECK (state IN ('linked', 'suggested', 'confirmed', 'rejected', 'undone')),
    run_id          bigint NOT NULL,
    found_at        timestamptz NOT NULL DEFAULT now(),
    decided_at      timestamptz,
    decided_by      text,
    note            text,
    PRIMARY KEY (account_id, listed_id),
    CHECK ((decided_at IS NULL) = (decided_by IS NULL)),
    CHECK (state IN ('linked', 'suggested') OR decided_by IS NOT NULL)
);
-- One account has one id at the bank at a time, and an id is one account's.
CREATE UNIQUE INDEX account_links_one_id ON sync.account_links (account_id)
    WHERE state IN ('linked', 'suggested', 'confirmed');
CREATE UNIQUE INDEX account_links_one_account ON sync.account_links (listed_id)
    WHERE state IN ('linked', 'suggested', 'confirmed');
COMMENT ON TABLE sync.account_links IS
    'Accounts that the bank lists under a new id. While one is only suggested, what the bank shows under the new id is held back: the money would be counted twice.';
COMMENT ON COLUMN sync.account_links.account_id IS 'The account as the mirror has known it; it keeps this id.';
COMMENT ON COLUMN sync.account_links.listed_id IS 'The id under which the bank lists it now, as the mirror would write it.';
COMMENT ON COLUMN sync.account_links.rows_seen IS 'How many transactions the bank showed under the new id, in days of which the account has transactions.';
COMMENT ON COLUMN sync.account_links.rows_equal IS 'How many of them the account has already: the same id, or the same fingerprint and occurrence.';

-- ── ids that are positions ───────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sync.positional_ids (
    connection_id   text NOT NULL,
    account_id      text NOT NULL,
    raised_at       timestamptz NOT NULL DEFAULT now(),
    last_seen_at    timestamptz NOT NULL DEFAULT now(),
    run_id          bigint NOT NULL,
    rows_rewritten  bigint NOT NULL,
    rows_held       bigint NOT NULL,
    sample          text[] NOT NULL,
    accepted_until  timestamptz,
    decided_at      timestamptz,
    decided_by      text,
    note            text,
    closed_at       timestamptz,
    PRIMARY KEY (connection_id, account_id),
    CHECK ((accepted_until IS NULL) OR (decided_by IS NOT NULL AND decided_at IS NOT NULL))
);
COMMENT ON TABLE sync.positional_ids IS
    'Feeds whose answer was refused because it rewrote booked transactions wholesale: their ids are positions in a list, or a person says that these are corrections.';
COMMENT ON COLUMN sync.positional_ids.account_id IS 'Empty for a feed that covers the whole connection.';
COMMENT ON COLUMN sync.positional_ids.rows_held IS 'How many booked transactions of ours the refused answer touched at all.';
COMMENT ON COLUMN sync.positional_ids.accepted_until IS 'Until when such an answer is stored after all, because somebody said that it is right.';

-- ── entries that stay pending ────────────────────────────────────────────────────────────────────────────────────────

ALTER TABLE sync.connections ADD COLUMN lapse_days integer NOT NULL DEFAULT 14 CHECK (lapse_days > 0);
COMMENT ON COLUMN sync.connections.lapse_days IS
    'After so many days a pending transaction that the bank still shows is called lapsed: it will hardly settle any more.';

CREATE OR REPLACE VIEW read.transactions AS
SELECT entry.account_id,
       entry.transaction_id,
       entry.amount_minor,
       entry.amount_minor * currency.unit AS amount,
       entry.currency,
       entry.status,
       entry.type,
       entry.created_at,
       entry.booked_on,
       coalesce(entry.booked_on, (entry.created_at AT TIME ZONE 'UTC')::date) AS day,
       entry.counterparty_account_id,
       entry.client_reference,
       entry.pending_transaction_id,
       read.shown(entry.description) AS description,
       read.shown(entry.counterparty_name) AS counterparty_name,
       entry.known_from,
       CASE WHEN entry.status = 'pending'
            THEN entry.created_at < now() - make_interval(days => coalesce((
                     SELECT connection.lapse_days
                       FROM snapshot.accounts AS account JOIN sync.connections AS connection USING (connection_id)
                      WHERE account.account_id = entry.account_id), 14))
            ELSE false END AS lapsed
  FROM snapshot.transactions AS entry
  JOIN snapshot.currencies AS currency USING (currency);
COMMENT ON COLUMN read.transactions.lapsed IS
    'Pending for so long that it will hardly settle any more. The bank still shows it, and may still count it in the available balance.';

-- ── for readers ──────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE VIEW read.transaction_links AS
SELECT left(md5(ROW(link.account_id, link.predecessor_id, link.successor_id)::text), 12) AS link_id,
       link.account_id,
       link.predecessor_id,
       link.successor_id,
       link.kind,
       link.evidence,
       link.occurrence,
       link.confidence,
       link.state,
       link.run_id,
       link.found_at,
       link.decided_at,
       link.decided_by,
       read.shown(link.note) AS note
  FROM snapshot.transaction_links AS link;
COMMENT ON VIEW read.transaction_links IS 'Which ids are the same transaction, how we know, and what is only suggested.';
COMMENT ON COLUMN read.transaction_links.link_id IS 'A short name for the link, made of its ids: what `bankmirror identity` is told.';

CREATE VIEW read.account_links AS
SELECT left(md5(ROW(link.account_id, link.listed_id)::text), 12) AS link_id,
       link.account_id,
       link.listed_id,
       link.connection_id,
       read.shown(link.name) AS name,
       link.evidence,
       link.rows_seen,
       link.rows_equal,
       link.state,
       link.run_id,
       link.found_at,
       link.decided_at,
       link.decided_by,
       read.shown(link.note) AS note
  FROM sync.account_links AS link;
COMMENT ON VIEW read.account_links IS 'Accounts that the bank lists under a new id, and those of which that is only suspected.';
COMMENT ON COLUMN read.account_links.link_id IS 'A short name for the link, made of its ids: what `bankmirror identity` is told.';

-- ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────────

GRANT SELECT, INSERT, UPDATE ON snapshot.transaction_links, sync.account_links, sync.positional_ids TO bankmirror_ingest;
GRANT SELECT, INSERT, DELETE ON sync.newcomers TO bankmirror_ingest;
GRANT EXECUTE ON FUNCTION snapshot.fingerprint TO bankmirror_ingest;
GRANT SELECT ON read.transaction_links, read.account_links TO bankmirror_reader, bankmirror_ingest;
