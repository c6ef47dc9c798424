-- Money that we move, and the audit trail of it.

CREATE TABLE audit.events (
    seq         bigint PRIMARY KEY,
    at          timestamptz NOT NULL,
    actor       text NOT NULL,
    action      text NOT NULL,
    subject     text NOT NULL,
    payload     jsonb NOT NULL,
    txid        xid8 NOT NULL,
    prev_hash   bytea NOT NULL,
    hash        bytea NOT NULL
);
CREATE INDEX events_of_subject ON audit.events (subject, seq);
COMMENT ON TABLE audit.events IS 'Append-only, without gaps; each row''s hash covers the row before it.';
COMMENT ON COLUMN audit.events.actor IS 'Who did it: a token''s name, or a process of ours.';
COMMENT ON COLUMN audit.events.subject IS 'What it was done to, e.g. transfer:<id>.';
COMMENT ON COLUMN audit.events.txid IS 'The database transaction that made the change and this row together.';

CREATE TABLE audit.head (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seq         bigint NOT NULL,
    hash        bytea NOT NULL
);
COMMENT ON TABLE audit.head IS 'The end of the chain. Its one row is locked by whoever appends, so that the chain cannot fork.';
INSERT INTO audit.head (seq, hash) VALUES (0, sha256('bankmirror audit'::bytea));

-- Length before content, so that no two different rows have the same bytes.
CREATE FUNCTION audit.framed(VARIADIC fields text[]) RETURNS bytea
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(int8send(octet_length(convert_to(field, 'UTF8'))) || convert_to(field, 'UTF8'), ''::bytea ORDER BY place)
      FROM unnest(fields) WITH ORDINALITY AS listed (field, place)
$$;
COMMENT ON FUNCTION audit.framed IS 'Text fields as bytes, each behind its length as eight bytes.';

CREATE FUNCTION audit.append(actor text, action text, subject text, payload jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last audit.head;
    event audit.events;
BEGIN
    SELECT * INTO STRICT last FROM audit.head FOR UPDATE;
    event.seq := last.seq + 1;
    event.at := clock_timestamp();
    event.actor := append.actor;
    event.action := append.action;
    event.subject := append.subject;
    event.payload := append.payload;
    event.txid := pg_current_xact_id();
    event.prev_hash := last.hash;
    event.hash := sha256(last.hash || audit.framed(
        event.seq::text, to_char(event.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
        event.actor, event.action, event.subject, event.payload::text));
    INSERT INTO audit.events SELECT event.*;
    UPDATE audit.head SET seq = event.seq, hash = event.hash;
    RETURN event.seq;
END
$$;
COMMENT ON FUNCTION audit.append IS 'Write one audit event in the caller''s transaction; the only way to write one.';

CREATE TABLE transfer.transfers (
    transfer_id             uuid PRIMARY KEY,
    -- what was asked, and by whom
    principal               text NOT NULL,
    client_key              text,
    fingerprint             bytea NOT NULL,
    source_account_id       text NOT NULL,
    destination_account_id  text NOT NULL,
    amount_minor            bigint NOT NULL CHECK (amount_minor > 0 AND amount_minor < 1000000000000000),
    currency                text NOT NULL,
    reference               text,
    memo                    text,
    execute_on              date,
    -- what goes to the bank, frozen before anything is sent
    connection_id           text NOT NULL DEFAULT 'default',
    bank_id                 text NOT NULL,
    bank_key                text NOT NULL UNIQUE,
    request_bytes           bytea NOT NULL,
    request_sha256          bytea NOT NULL,
    -- where it stands
    state                   text NOT NULL CHECK (state IN (
                                'pending_approval',  -- waits for a person
                                'ready',             -- may be sent
                                'submitting',        -- an attempt is committed and may be on the wire
                                'unknown',           -- sent, outcome not known: only evidence resolves it
                                'accepted',          -- the bank has it and gave it an id
                                'settled',           -- seen posted in the mirrored feed
                                'rejected',          -- the bank declined it; no money moved
                                'returned',          -- it came back after it was accepted
                                'canceled',          -- withdrawn before it was sent
                                'manual_review'      -- the evidence contradicts itself; people decide
                            )),
    bank_transaction_id     text,
    outcome_code            text,
    outcome_detail          text,
    -- who works on it now
    epoch                   bigint NOT NULL DEFAULT 0,
    lease_holder            text,
    lease_until             timestamptz,
    attempts                integer NOT NULL DEFAULT 0,
    first_sent_at           timestamptz,
    next_attempt_at         timestamptz NOT NULL DEFAULT now(),
    created_at              timestamptz NOT NULL DEFAULT now(),
    updated_at              timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_transfer_per_client_key UNIQUE (principal, client_key),
    CONSTRAINT not_to_itself CHECK (source_account_id <> destination_account_id),
    CONSTRAINT accepted_has_bank_id CHECK (state NOT IN ('accepted', 'settled') OR bank_transaction_id IS NOT NULL),
    CONSTRAINT sent_has_attempt CHECK (state NOT IN ('submitting', 'unknown', 'accepted') OR (attempts > 0 AND first_sent_at IS NOT NULL))
);
-- One bank transaction answers for at most one transfer.
CREATE UNIQUE INDEX transfers_bank_transaction ON transfer.transfers (connection_id, source_account_id, bank_transaction_id)
    WHERE bank_transaction_id IS NOT NULL;
CREATE INDEX transfers_to_work_on ON transfer.transfers (next_attempt_at) WHERE state IN ('ready', 'submitting', 'unknown');
CREATE INDEX transfers_of_source ON transfer.transfers (source_account_id, created_at DESC)
    WHERE state IN ('pending_approval', 'ready', 'submitting', 'unknown', 'accepted', 'manual_review');
COMMENT ON TABLE transfer.transfers IS 'One row for each intent to move money. It never disappears, and its key never expires.';
COMMENT ON COLUMN transfer.transfers.amount_minor IS 'How much leaves the source account, in minor units; positive here, negative on the account.';
COMMENT ON COLUMN transfer.transfers.fingerprint IS 'SHA-256 of the canonical request: the same key with another fingerprint is another intent, and refused.';
COMMENT ON COLUMN transfer.transfers.bank_id IS
    'The bank that this is sent to. Only a process that talks to it may send or ask: what another bank does not show proves nothing.';
COMMENT ON COLUMN transfer.transfers.bank_key IS 'The key and the reference at the bank: one for the transfer, never one for an attempt.';
COMMENT ON COLUMN transfer.transfers.request_bytes IS 'The exact bytes that are sent, however often.';
COMMENT ON COLUMN transfer.transfers.epoch IS 'Moves on with every claim. A worker that slept through its lease writes under an older one and changes nothing.';
COMMENT ON COLUMN transfer.transfers.first_sent_at IS 'When the first attempt was committed: the bank''s memory of the key is counted from here.';

CREATE TABLE transfer.edges (
    from_state  text NOT NULL,
    to_state    text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);
COMMENT ON TABLE transfer.edges IS 'The moves that a transfer may make. Everything else is refused by the database.';
INSERT INTO transfer.edges (from_state, to_state) VALUES
    ('pending_approval', 'ready'),
    ('pending_approval', 'canceled'),
    ('ready', 'submitting'),
    ('ready', 'canceled'),
    ('submitting', 'ready'),           -- nothing left this machine, and it was the first attempt
    ('submitting', 'accepted'),
    ('submitting', 'rejected'),
    ('submitting', 'unknown'),
    ('submitting', 'manual_review'),
    ('unknown', 'accepted'),
    ('unknown', 'rejected'),
    ('unknown', 'manual_review'),
    ('accepted', 'settled'),
    ('accepted', 'returned'),
    ('settled', 'returned'),
    ('manual_review', 'accepted'),
    ('manual_review', 'rejected');

CREATE FUNCTION transfer.check_move() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state NOT IN ('pending_approval', 'ready') OR NEW.attempts <> 0 THEN
            RAISE EXCEPTION 'a transfer cannot begin as %', NEW.state USING ERRCODE = 'check_violation';
        END IF;
        RETURN NEW;
    END IF;
    -- The bank's memory of the key is counted from it: moved forward, it would allow to pay twice.
    IF OLD.first_sent_at IS NOT NULL AND NEW.first_sent_at IS DISTINCT FROM OLD.first_sent_at THEN
        RAISE EXCEPTION 'the first sending of a transfer cannot be moved' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> OLD.state AND NOT EXISTS (
        SELECT FROM transfer.edges WHERE from_state = OLD.state AND to_state = NEW.state) THEN
        RAISE EXCEPTION 'a transfer cannot go from % to %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.epoch < OLD.epoch OR NEW.attempts < OLD.attempts THEN
        RAISE EXCEPTION 'the epoch and the attempts of a transfer cannot go back' USING ERRCODE = 'check_violation';
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$;
CREATE TRIGGER check_move BEFORE INSERT OR UPDATE ON transfer.transfers FOR EACH ROW EXECUTE FUNCTION transfer.check_move();

CREATE TABLE transfer.attempts (
    transfer_id     uuid NOT NULL REFERENCES transfer.transfers,
    attempt         integer NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('post', 'lookup')),
    epoch           bigint NOT NULL,
    worker          text NOT NULL,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    verdict         text,
    http_status     integer,
    detail          text,
    PRIMARY KEY (transfer_id, attempt)
);
COMMENT ON TABLE transfer.attempts IS 'Every contact with the bank about a transfer. A row is committed before the bank is called.';
COMMENT ON COLUMN transfer.attempts.verdict IS 'What the answer proves; null while the call is under way or when its process died.';

CREATE VIEW transfer.history AS
SELECT subject, seq, at, actor, action, payload FROM audit.events WHERE subject LIKE 'transfer:%';
COMMENT ON VIEW transfer.history IS 'What the audit chain says about transfers; subject is transfer:<id>.';

-- Only the columns that move are updatable: what was asked and what is sent cannot be changed by anyone.
GRANT SELECT, INSERT ON transfer.transfers, transfer.attempts TO bankmirror_transfers;
GRANT SELECT ON transfer.edges, transfer.history TO bankmirror_transfers;
GRANT UPDATE (state, bank_transaction_id, outcome_code, outcome_detail, epoch, lease_holder, lease_until, attempts,
              first_sent_at, next_attempt_at) ON transfer.transfers TO bankmirror_transfers;
GRANT UPDATE (finished_at, verdict, http_status, detail) ON transfer.attempts TO bankmirror_transfers;
GRANT EXECUTE ON FUNCTION audit.append TO bankmirror_transfers;

-- Settlement is read off the mirrored feed and never off a bank's answer to us. This function is the one way to it, so
-- that the role that moves money needs no right to the mirror's tables. What the bank answered as pending may be posted
-- under another id, which names the first one or our key. The transfer keeps the first id: it is what the bank answered.
CREATE FUNCTION transfer.settle(batch integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seen record;
    settled integer := 0;
BEGIN
    FOR seen IN
        SELECT transfers.transfer_id, transfers.bank_transaction_id, posted.transaction_id, posted.booked_on
          FROM transfer.transfers
         CROSS JOIN LATERAL (
               SELECT entry.transaction_id, entry.booked_on
                 -- Not one condition with OR, which no index could serve.
                 FROM (SELECT * FROM snapshot.transactions AS same
                        WHERE same.account_id = transfers.source_account_id
                          AND same.transaction_id = transfers.bank_transaction_id
                        UNION ALL
                       SELECT * FROM snapshot.transactions AS successor
                        WHERE successor.account_id = transfers.source_account_id
                          AND successor.pending_transaction_id = transfers.bank_transaction_id
                        UNION ALL
                       SELECT * FROM snapshot.transactions AS named
                        WHERE named.account_id = transfers.source_account_id
                          AND named.client_reference = transfers.bank_key) AS entry
                WHERE entry.status = 'posted'
                  AND entry.amount_minor = -transfers.amount_minor
                  AND entry.currency = transfers.currency
                  -- One bank transaction answers for one transfer: none that also names another of ours.
                  AND NOT EXISTS (
                      SELECT FROM transfer.transfers AS other
                       WHERE other.connection_id = transfers.connection_id
                         AND other.source_account_id = transfers.source_account_id
                         AND other.bank_transaction_id IN (entry.transaction_id, entry.pending_transaction_id)
                         AND other.transfer_id <> transfers.transfer_id)
                  AND NOT EXISTS (
                      SELECT FROM transfer.transfers AS other
                       WHERE other.bank_key = entry.client_reference
                         AND other.transfer_id <> transfers.transfer_id)
                LIMIT 1) AS posted
         WHERE transfers.state = 'accepted'
         ORDER BY transfers.created_at
         LIMIT batch
           FOR UPDATE OF transfers SKIP LOCKED
    LOOP
        UPDATE transfer.transfers SET state = 'settled' WHERE transfer_id = seen.transfer_id;
        PERFORM audit.append('transfers', 'transfer.settled', 'transfer:' || seen.transfer_id,
            jsonb_build_object('bank_transaction_id', seen.bank_transaction_id,
                               'posted_transaction_id', seen.transaction_id, 'booked_on', seen.booked_on));
        PERFORM pg_notify('bankmirror_transfers', seen.transfer_id::text);
        settled := settled + 1;
    END LOOP;
    RETURN settled;
END
$$;
COMMENT ON FUNCTION transfer.settle IS 'Settle accepted transfers whose bank transaction is posted in the mirror; returns how many.';
GRANT EXECUTE ON FUNCTION transfer.settle TO bankmirror_transfers;
