-- Read receipts: who asked what, and what was answered.
--
-- The read API writes nothing while it answers. It counts in memory, and once a second a role that can do nothing else hands
-- over what was counted. So a receipt may be lost with the process, at most a second of them, and is never waited for.

DO $roles$
BEGIN
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bankmirror_receipts') THEN
            BEGIN
                CREATE ROLE bankmirror_receipts LOGIN NOINHERIT;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        IF NOT pg_has_role(current_user, 'bankmirror_receipts',
                           CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
            GRANT bankmirror_receipts TO CURRENT_USER;
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE EXCEPTION '% may not make or enter the role bankmirror_receipts, which belongs to the whole server: %',
                        current_user, SQLERRM
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('As a superuser: CREATE ROLE bankmirror_receipts LOGIN NOINHERIT (if it does not exist); '
                                'GRANT bankmirror_receipts TO %I; then migrate again.', current_user);
    END;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO bankmirror_receipts', current_database());
END
$roles$;

CREATE TABLE audit.reads (
    read_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_id        text,
    caller          text NOT NULL,
    target          text NOT NULL,
    status          smallint NOT NULL,
    version         text NOT NULL,
    result_sha256   bytea NOT NULL CHECK (octet_length(result_sha256) = 32),
    first_at        timestamptz NOT NULL,
    last_at         timestamptz NOT NULL,
    times           bigint NOT NULL CHECK (times > 0),
    worker          text NOT NULL
);
CREATE INDEX reads_by_time ON audit.reads (last_at);
CREATE INDEX reads_by_token ON audit.reads (token_id, last_at);
CREATE INDEX reads_by_result ON audit.reads (result_sha256);
COMMENT ON TABLE audit.reads IS
    'Read receipts: one row for the same answer to the same question of the same caller, a second at a time. Who holds the '
    'database can change them; unlike audit.events they are no chain.';
COMMENT ON COLUMN audit.reads.token_id IS 'Null: a caller without a token of the database, whom caller names.';
COMMENT ON COLUMN audit.reads.target IS 'Path and query as they were sent, cut after 8000 characters.';
COMMENT ON COLUMN audit.reads.version IS
    'The read model''s version: the answer held every database transaction below this id. Empty where the answer has none.';
COMMENT ON COLUMN audit.reads.result_sha256 IS 'SHA-256 of the whole body; of a streamed answer, of what was sent.';
COMMENT ON COLUMN audit.reads.worker IS 'The process that answered.';

CREATE TABLE audit.read_batches (
    worker      text PRIMARY KEY,
    batch       bigint NOT NULL,
    written_at  timestamptz NOT NULL
);
COMMENT ON TABLE audit.read_batches IS
    'The last batch of receipts of each process: one that is handed over again, because its commit was in doubt, is not written twice.';

CREATE FUNCTION audit.note_reads(
    worker text, batch bigint, keep_days integer, token_ids text[], callers text[], targets text[], statuses smallint[],
    versions text[], results bytea[], first_ats timestamptz[], last_ats timestamptz[], counts bigint[])
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Whoever may write receipts must not be able to wipe them out.
    IF keep_days IS NULL OR keep_days < 7 THEN
        RAISE EXCEPTION 'receipts are kept for at least 7 days' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO audit.read_batches AS known (worker, batch, written_at)
    VALUES (note_reads.worker, note_reads.batch, clock_timestamp())
        ON CONFLICT ON CONSTRAINT read_batches_pkey DO UPDATE
       SET batch = excluded.batch, written_at = excluded.written_at
     WHERE known.batch < excluded.batch;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO audit.reads (token_id, caller, target, status, version, result_sha256, first_at, last_at, times, worker)
    SELECT noted.token_id, noted.caller, left(noted.target, 8000), noted.status, noted.version, noted.result_sha256,
           noted.first_at, noted.last_at, noted.times, note_reads.worker
      FROM unnest(token_ids, callers, targets, statuses, versions, results, first_ats, last_ats, counts)
           AS noted (token_id, caller, target, status, version, result_sha256, first_at, last_at, times);
    -- A little each time: a process that was away for a month must not stop here for a minute.
    DELETE FROM audit.reads
     WHERE read_id IN (SELECT read_id FROM audit.reads
                        WHERE last_at < now() - make_interval(days => keep_days)
                        ORDER BY last_at LIMIT 5000);
    DELETE FROM audit.read_batches AS past
     WHERE past.written_at < now() - interval '7 days' AND past.worker <> note_reads.worker;
    RETURN true;
END
$$;
COMMENT ON FUNCTION audit.note_reads IS
    'Write one batch of receipts and forget those that are older than keep_days; false for a batch that is written already.';

GRANT USAGE ON SCHEMA audit TO bankmirror_receipts;
GRANT EXECUTE ON FUNCTION audit.note_reads TO bankmirror_receipts;
-- What tokens have used is told on the same occasion.
GRANT USAGE ON SCHEMA access TO bankmirror_receipts;
GRANT EXECUTE ON FUNCTION access.spend TO bankmirror_receipts;
