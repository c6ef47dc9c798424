-- Schemas and roles.
--
-- One process, one role, and GRANTs are the boundary between them. Roles can log in (so that each process can have a
-- login of its own in production, and so that workers of a distributed database can be reached as them) but have no
-- password until an operator sets one. On one machine every process enters its role from one DATABASE_URL.

DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['bankmirror_ingest', 'bankmirror_reader', 'bankmirror_transfers'] LOOP
        BEGIN
            -- Roles belong to the whole server. Another database of it, or another migration at this moment, may have
            -- made them already, and the catalog raises one of two errors for that race.
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
                BEGIN
                    EXECUTE format('CREATE ROLE %I LOGIN NOINHERIT', role_name);
                EXCEPTION WHEN duplicate_object OR unique_violation THEN
                    NULL;
                END;
            END IF;
            -- Whoever migrates may act as the roles; a superuser may anyway. Since PostgreSQL 16 who makes a role is a
            -- member of it, yet one that may not enter it.
            IF NOT pg_has_role(current_user, role_name,
                               CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
                EXECUTE format('GRANT %I TO CURRENT_USER', role_name);
            END IF;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE EXCEPTION '% may not make or enter the role %, which belongs to the whole server: %',
                            current_user, role_name, SQLERRM
                USING ERRCODE = 'insufficient_privilege',
                      HINT = format('As a superuser: CREATE ROLE %1$I LOGIN NOINHERIT (if it does not exist); '
                                    'GRANT %1$I TO %2$I; then migrate again.', role_name, current_user);
        END;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
    END LOOP;
    -- Only ingest stages rows in temporary tables.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO bankmirror_ingest', current_database());
END
$roles$;

CREATE SCHEMA snapshot;
COMMENT ON SCHEMA snapshot IS 'What the bank shows now, and every version of it that we believed before.';
CREATE SCHEMA sync;
COMMENT ON SCHEMA sync IS 'How the mirror is kept: what to poll, what each poll did, what is missing, what was refused.';
CREATE SCHEMA read;
COMMENT ON SCHEMA read IS 'The read model: the only schema that agents and people read.';
CREATE SCHEMA transfer;
COMMENT ON SCHEMA transfer IS 'Money that we move: each transfer, its state, and every attempt to send it.';
CREATE SCHEMA audit;
COMMENT ON SCHEMA audit IS 'Who did what, append-only and hash-chained.';

GRANT USAGE ON SCHEMA snapshot, sync, read TO bankmirror_ingest;
GRANT USAGE ON SCHEMA read TO bankmirror_reader;
GRANT USAGE ON SCHEMA transfer, audit, read TO bankmirror_transfers;

-- Before PostgreSQL 15 everyone could create tables here.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- A new function is executable by everyone unless this is said; each one is granted by name instead.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
