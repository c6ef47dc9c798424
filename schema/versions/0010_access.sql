-- Who may see what.
--
-- Tokens live in the schema `access`; only their digests do. What a token's holder sees is decided here and not by a WHERE
-- that each query has to remember: the views that the reader is granted show the accounts that a setting of the current
-- transaction names, and nothing where there is no such setting. The whole views stand behind them, in the schema `model`,
-- granted to nobody.

DO $roles$
BEGIN
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bankmirror_access') THEN
            BEGIN
                CREATE ROLE bankmirror_access LOGIN NOINHERIT;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        IF NOT pg_has_role(current_user, 'bankmirror_access',
                           CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
            GRANT bankmirror_access TO CURRENT_USER;
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE EXCEPTION '% may not make or enter the role bankmirror_access, which belongs to the whole server: %',
                        current_user, SQLERRM
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('As a superuser: CREATE ROLE bankmirror_access LOGIN NOINHERIT (if it does not exist); '
                                'GRANT bankmirror_access TO %I; then migrate again.', current_user);
    END;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO bankmirror_access', current_database());
END
$roles$;

CREATE SCHEMA access;
COMMENT ON SCHEMA access IS 'Who may ask: tokens with their scopes, accounts and limits.';
CREATE SCHEMA model;
COMMENT ON SCHEMA model IS 'The read model of all accounts. Granted to nobody: the views of the schema read stand in front of it, and filter.';

CREATE TABLE access.tokens (
    token_id            text PRIMARY KEY CHECK (token_id ~ '^[0-9A-Za-z]{8}$'),
    principal           text NOT NULL CHECK (principal ~ '^[0-9A-Za-z]{8}$'),
    name                text NOT NULL CHECK (name <> '' AND length(name) <= 100),
    environment         text NOT NULL CHECK (environment IN ('live', 'test')),
    digest              bytea NOT NULL CHECK (octet_length(digest) = 32),
    scopes              text[] NOT NULL CHECK (
        cardinality(scopes) > 0
        AND scopes <@ ARRAY['read', 'read:memo', 'transfer:request', 'transfer:approve', 'recon', 'admin']),
    accounts            text[] CHECK (cardinality(accounts) > 0 AND array_position(accounts, NULL) IS NULL),
    requests_per_minute integer NOT NULL DEFAULT 600 CHECK (requests_per_minute > 0),
    bytes_per_day       bigint NOT NULL DEFAULT 1000000000 CHECK (bytes_per_day > 0),
    created_at          timestamptz NOT NULL DEFAULT now(),
    created_by          text NOT NULL DEFAULT session_user,
    expires_at          timestamptz,
    revoked_at          timestamptz,
    -- Checked at the end of the transaction: whoever rotates first retires the old token, since both have one name.
    replaced_by         text REFERENCES access.tokens DEFERRABLE INITIALLY DEFERRED,
    -- Who reads what strangers write must not be able to move money: that is how a memo would come to pay itself.
    CONSTRAINT memos_and_money_apart CHECK (
        NOT (scopes @> ARRAY['read:memo'] AND scopes && ARRAY['transfer:request', 'transfer:approve'])),
    CONSTRAINT memos_are_read CHECK (scopes @> ARRAY['read'] OR NOT scopes @> ARRAY['read:memo'])
);
CREATE UNIQUE INDEX tokens_in_use_by_name ON access.tokens (name) WHERE revoked_at IS NULL AND replaced_by IS NULL;
COMMENT ON TABLE access.tokens IS 'Tokens that were ever given out. The secret is nowhere: only its digest is.';
COMMENT ON COLUMN access.tokens.token_id IS 'The part of the token that may be shown, logged and searched for.';
COMMENT ON COLUMN access.tokens.principal IS
    'Whose idempotency keys are meant: the first token_id before all rotations. A transfer that is asked for again with the rotated token is the same transfer.';
COMMENT ON COLUMN access.tokens.digest IS 'SHA-256 of the whole token. The secret in it has 256 bits, so nothing slower is needed.';
COMMENT ON COLUMN access.tokens.accounts IS 'The only accounts that its holder sees. Null: all, also those to come.';
COMMENT ON COLUMN access.tokens.expires_at IS 'Null: never.';
COMMENT ON COLUMN access.tokens.replaced_by IS 'The token that it was exchanged for; this one goes on until expires_at.';

-- What a token may do is never changed, so that what its holder was told stays true: it can only end, and only sooner.
CREATE FUNCTION access.check_end() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    may_move CONSTANT text[] := ARRAY['revoked_at', 'expires_at', 'replaced_by'];
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'tokens are revoked, and not emptied out' USING ERRCODE = 'check_violation';
    END IF;
    IF to_jsonb(NEW) - may_move <> to_jsonb(OLD) - may_move THEN
        RAISE EXCEPTION 'what a token may do is never changed, only its end' USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN
        RAISE EXCEPTION 'a token that was revoked stays revoked' USING ERRCODE = 'check_violation';
    END IF;
    IF coalesce(NEW.expires_at, 'infinity') > coalesce(OLD.expires_at, 'infinity') THEN
        RAISE EXCEPTION 'a token cannot be prolonged, only rotated' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER check_end BEFORE UPDATE ON access.tokens FOR EACH ROW EXECUTE FUNCTION access.check_end();
-- It would go by the row triggers, and so by the audit chain.
CREATE TRIGGER check_truncate BEFORE TRUNCATE ON access.tokens FOR EACH STATEMENT EXECUTE FUNCTION access.check_end();

-- Whoever does it, by whatever means: it is in the audit chain, and the processes forget what they knew of the token.
CREATE FUNCTION access.tell_change() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    token CONSTANT access.tokens := coalesce(NEW, OLD);
BEGIN
    PERFORM audit.append(
        coalesce(nullif(current_setting('bankmirror.actor', true), ''), session_user),
        CASE WHEN TG_OP = 'INSERT' THEN 'token.created'
             WHEN TG_OP = 'DELETE' THEN 'token.deleted'
             WHEN NEW.revoked_at IS DISTINCT FROM OLD.revoked_at THEN 'token.revoked'
             WHEN NEW.replaced_by IS DISTINCT FROM OLD.replaced_by THEN 'token.replaced'
             ELSE 'token.shortened' END,
        'token:' || token.token_id,
        to_jsonb(token) - 'digest');
    PERFORM pg_notify('bankmirror_access', token.token_id);
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_change AFTER INSERT OR UPDATE OR DELETE ON access.tokens FOR EACH ROW EXECUTE FUNCTION access.tell_change();

CREATE TABLE access.usage (
    token_id        text PRIMARY KEY REFERENCES access.tokens,
    minute          bigint NOT NULL,
    requests        bigint NOT NULL,
    day             bigint NOT NULL,
    bytes           bigint NOT NULL,
    last_used_at    timestamptz NOT NULL
);
COMMENT ON TABLE access.usage IS 'What each token has used of its limits lately, over all processes: told once a second.';
COMMENT ON COLUMN access.usage.minute IS 'The minute that requests are counted in, since 1970; and day likewise, for bytes.';

CREATE TABLE access.usage_batches (
    worker      text PRIMARY KEY,
    batch       bigint NOT NULL,
    written_at  timestamptz NOT NULL
);
COMMENT ON TABLE access.usage_batches IS
    'What each process told last of its tokens'' use: told again, because its commit was in doubt, it is not counted twice.';

CREATE FUNCTION access.spend(worker text, batch bigint, of_tokens text[], in_minutes bigint[], more_requests bigint[], on_days bigint[], more_bytes bigint[])
RETURNS TABLE (token_id text, minute bigint, requests bigint, day bigint, bytes bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH is_new AS (
        INSERT INTO access.usage_batches AS known (worker, batch, written_at) VALUES ($1, $2, clock_timestamp())
            ON CONFLICT ON CONSTRAINT usage_batches_pkey DO UPDATE
           SET batch = excluded.batch, written_at = excluded.written_at
         WHERE known.batch < excluded.batch
        RETURNING 1),
    forgotten AS (
        DELETE FROM access.usage_batches AS past
         WHERE past.written_at < now() - interval '7 days' AND past.worker <> $1)
    INSERT INTO access.usage AS usage (token_id, minute, requests, day, bytes, last_used_at)
    -- What was counted before adds nothing; the sums are returned all the same.
    SELECT told.token_id, told.minute, told.requests * (SELECT count(*) FROM is_new),
           told.day, told.bytes * (SELECT count(*) FROM is_new), clock_timestamp()
      FROM unnest($3, $4, $5, $6, $7) AS told (token_id, minute, requests, day, bytes)
      JOIN access.tokens USING (token_id)
     -- In one order, so that two processes that tell of the same tokens do not wait for each other.
     ORDER BY told.token_id
    ON CONFLICT ON CONSTRAINT usage_pkey DO UPDATE
       -- What is told of an earlier minute is over; a later one begins anew.
       SET requests = CASE WHEN excluded.minute = usage.minute THEN usage.requests + excluded.requests
                           WHEN excluded.minute > usage.minute THEN excluded.requests ELSE usage.requests END,
           minute = greatest(usage.minute, excluded.minute),
           bytes = CASE WHEN excluded.day = usage.day THEN usage.bytes + excluded.bytes
                        WHEN excluded.day > usage.day THEN excluded.bytes ELSE usage.bytes END,
           day = greatest(usage.day, excluded.day),
           last_used_at = CASE WHEN excluded.requests + excluded.bytes > 0
                               THEN excluded.last_used_at ELSE usage.last_used_at END
    RETURNING usage.token_id, usage.minute, usage.requests, usage.day, usage.bytes
$$;
COMMENT ON FUNCTION access.spend IS
    'Add what a process has let tokens use since it told last, once for each number; returns what all processes together have.';

CREATE FUNCTION access.token(token_id text)
RETURNS TABLE (principal text, name text, environment text, digest bytea, scopes text[], accounts text[],
               requests_per_minute integer, bytes_per_day bigint, revoked boolean, expires_in double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT token.principal, token.name, token.environment, token.digest, token.scopes, token.accounts,
           token.requests_per_minute, token.bytes_per_day, token.revoked_at IS NOT NULL,
           -- An interval between a moment and infinity is an error before PostgreSQL 17.
           CASE WHEN token.expires_at < 'infinity' THEN extract(epoch FROM token.expires_at - clock_timestamp())::float8 END
      FROM access.tokens AS token
     WHERE token.token_id = $1
$$;
COMMENT ON FUNCTION access.token IS
    'What a door needs to know of a token; no row where there is none. Seconds until it expires, by the clock of the database; null: never.';

-- What the current caller sees. The reader's sight is a setting of its transaction; ingest and transfers work on all
-- accounts, and whoever owns the schema could read the tables anyway. Any other role sees what its transaction says.
CREATE FUNCTION read.sees_all() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('bankmirror.accounts', true) = '*', false)
        OR current_user <> 'bankmirror_reader'
           AND (current_user IN ('bankmirror_ingest', 'bankmirror_transfers')
                OR pg_has_role(current_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'read'), 'MEMBER'))
$$;
COMMENT ON FUNCTION read.sees_all IS 'Whether all accounts are shown: the setting bankmirror.accounts is *, or the role works on all of them.';

CREATE FUNCTION read.my_accounts() RETURNS text[] LANGUAGE sql STABLE AS $$
    -- Once a setting was used in a session it reads as empty afterwards, and not as null.
    SELECT CASE WHEN left(current_setting('bankmirror.accounts', true), 1) = '{'
                THEN current_setting('bankmirror.accounts', true)::text[] ELSE '{}' END
$$;
COMMENT ON FUNCTION read.my_accounts IS 'The accounts that the setting bankmirror.accounts of this transaction names; none where it is not set.';

CREATE FUNCTION read.sees_memos() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('bankmirror.memo', true) = 'on', false)
        OR current_user <> 'bankmirror_reader'
           AND (current_user IN ('bankmirror_ingest', 'bankmirror_transfers')
                OR pg_has_role(current_user, (SELECT nspowner FROM pg_namespace WHERE nspname = 'read'), 'MEMBER'))
$$;
COMMENT ON FUNCTION read.sees_memos IS 'Whether text that third parties wrote is shown: the setting bankmirror.memo is on, or the role works on all accounts.';

-- The views as they were, under another name ...
ALTER VIEW read.account_links SET SCHEMA model;
ALTER VIEW read.accounts SET SCHEMA model;
ALTER VIEW read.balance_history SET SCHEMA model;
ALTER VIEW read.balances SET SCHEMA model;
ALTER VIEW read.confirmations SET SCHEMA model;
ALTER VIEW read.daily_cash_flow SET SCHEMA model;
ALTER VIEW read.daily_totals SET SCHEMA model;
ALTER VIEW read.feeds SET SCHEMA model;
ALTER VIEW read.late_entries SET SCHEMA model;
ALTER VIEW read.open_runs SET SCHEMA model;
ALTER VIEW read.transaction_links SET SCHEMA model;
ALTER VIEW read.transaction_past SET SCHEMA model;
ALTER VIEW read.transaction_revisions SET SCHEMA model;
ALTER VIEW read.transactions SET SCHEMA model;
ALTER VIEW read.transfers SET SCHEMA model;
ALTER VIEW read.transfers_under_way SET SCHEMA model;
REVOKE ALL ON ALL TABLES IN SCHEMA model FROM bankmirror_reader, bankmirror_ingest, bankmirror_transfers;

-- ... and the filter in front of each. Both calls are made once a query, not once a row.
-- The new id is an account's as well, and its name is one: they are shown to who may see that one too.
CREATE VIEW read.account_links AS
    SELECT whole.link_id, whole.account_id,
           CASE WHEN (SELECT read.sees_all()) OR whole.listed_id = ANY ((SELECT read.my_accounts())::text[])
                THEN whole.listed_id END AS listed_id,
           whole.connection_id,
           CASE WHEN (SELECT read.sees_all()) OR whole.listed_id = ANY ((SELECT read.my_accounts())::text[])
                THEN whole.name END AS name,
           whole.evidence, whole.rows_seen, whole.rows_equal, whole.state, whole.run_id, whole.found_at,
           whole.decided_at, whole.decided_by, whole.note
      FROM model.account_links AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.account_links IS 'Accounts that the bank lists under a new id, and those of which that is only suspected.';

CREATE VIEW read.accounts AS
    SELECT whole.* FROM model.accounts AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.accounts IS 'The accounts of every connected bank.';

CREATE VIEW read.balance_history AS
    SELECT whole.* FROM model.balance_history AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.balance_history IS 'Every balance that differed from the one before it.';

CREATE VIEW read.balances AS
    SELECT whole.* FROM model.balances AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.balances IS 'The latest balance of each account, as the bank states it.';

CREATE VIEW read.confirmations AS
    SELECT whole.* FROM model.confirmations AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.confirmations IS 'Since when, and until when, each feed of each account could be trusted, and how far.';

CREATE VIEW read.daily_cash_flow AS
    SELECT whole.* FROM model.daily_cash_flow AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.daily_cash_flow IS 'Posted money in and out of each account by booking date, as of the last refresh in read.refreshes.';

CREATE VIEW read.daily_totals AS
    SELECT whole.* FROM model.daily_totals AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.daily_totals IS 'Posted money in and out by account and booking date, now, without the wait for a refresh.';

CREATE VIEW read.feeds AS
    SELECT whole.* FROM model.feeds AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.feeds IS 'How fresh each feed of each account is, and why it is not.';

CREATE VIEW read.late_entries AS
    SELECT whole.* FROM model.late_entries AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.late_entries IS 'Transactions that came days after their booking date: what was said of that day before lacked them.';

CREATE VIEW read.open_runs AS
    SELECT whole.* FROM model.open_runs AS whole
    -- A poll of the whole connection names no account.
     WHERE (SELECT read.sees_all()) OR whole.account_id = '' OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.open_runs IS 'Polls that are under way and may still store what was known since they began.';

CREATE VIEW read.transaction_links AS
    SELECT whole.* FROM model.transaction_links AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.transaction_links IS 'Which ids are the same transaction, how we know, and what is only suggested.';

CREATE VIEW read.transaction_past AS
    SELECT whole.account_id, whole.transaction_id, whole.amount_minor, whole.amount, whole.currency, whole.status,
           whole.type, whole.created_at, whole.booked_on, whole.day,
           whole.counterparty_account_id, whole.client_reference, whole.pending_transaction_id,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.description END AS description,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.counterparty_name END AS counterparty_name,
           whole.known_from, whole.known_to, whole.ended_by, whole.successor_id
      FROM model.transaction_past AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.transaction_past IS 'Versions of transactions that are believed no more, with all columns of read.transactions.';

CREATE VIEW read.transaction_revisions AS
    SELECT whole.account_id, whole.transaction_id, whole.amount_minor, whole.amount, whole.currency, whole.status,
           whole.type, whole.created_at, whole.booked_on,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.description END AS description,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.counterparty_name END AS counterparty_name,
           whole.known_from, whole.known_to, whole.ended_by, whole.successor_id
      FROM model.transaction_revisions AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.transaction_revisions IS 'What we believed about transactions before, until when, and why it ended.';

CREATE VIEW read.transactions AS
    SELECT whole.account_id, whole.transaction_id, whole.amount_minor, whole.amount, whole.currency, whole.status,
           whole.type, whole.created_at, whole.booked_on, whole.day,
           whole.counterparty_account_id, whole.client_reference, whole.pending_transaction_id,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.description END AS description,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.counterparty_name END AS counterparty_name,
           whole.known_from, whole.lapsed
      FROM model.transactions AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.transactions IS 'The transactions that the bank shows now.';

CREATE VIEW read.transfers AS
    SELECT whole.* FROM model.transfers AS whole
     WHERE (SELECT read.sees_all()) OR whole.source_account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.transfers IS 'Every transfer that was asked for, and where it stands.';

CREATE VIEW read.transfers_under_way AS
    SELECT whole.* FROM model.transfers_under_way AS whole
     WHERE (SELECT read.sees_all()) OR whole.source_account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.transfers_under_way IS 'Transfers that the mirrored feed does not show yet. Together with read.transactions each is counted once.';

GRANT USAGE ON SCHEMA access TO bankmirror_access, bankmirror_reader, bankmirror_transfers;
GRANT USAGE ON SCHEMA read TO bankmirror_access;
GRANT SELECT, INSERT ON access.tokens TO bankmirror_access;
GRANT UPDATE (expires_at, revoked_at, replaced_by) ON access.tokens TO bankmirror_access;
GRANT SELECT ON access.usage TO bankmirror_access;
GRANT EXECUTE ON FUNCTION access.token TO bankmirror_reader, bankmirror_transfers;
GRANT EXECUTE ON FUNCTION read.sees_all, read.my_accounts, read.sees_memos
    TO bankmirror_reader, bankmirror_ingest, bankmirror_transfers, bankmirror_access;
GRANT SELECT ON read.account_links, read.accounts, read.balance_history, read.balances, read.confirmations, read.daily_cash_flow,
                read.daily_totals, read.feeds, read.late_entries, read.open_runs, read.transaction_links, read.transaction_past,
                read.transaction_revisions, read.transactions, read.transfers, read.transfers_under_way TO bankmirror_reader;
GRANT SELECT ON read.feeds, read.account_links, read.transaction_links TO bankmirror_ingest;
GRANT SELECT ON read.accounts TO bankmirror_transfers, bankmirror_access;
