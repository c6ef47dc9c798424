-- Notifications from the database itself, for what changes an answer or the verdict on it without new rows of a poll.
--
-- Whoever keeps answers in memory drops them by these, so what is not told here is answered wrongly until the answer would
-- have become stale. Hence triggers: a statement that somebody types in psql is told as well. A poll tells by itself which
-- accounts have new rows: the tables of `snapshot` have no triggers, and none is needed there.
--
-- The triggers look at single rows, because only those can have a condition: a write that moves nothing that is shown, and
-- that is nearly every one, costs its evaluation and no call. Equal messages of one transaction are delivered once.
--
-- Channels, and what a message says: bankmirror_changed and bankmirror_moved (transfers), {"accounts": [...]}, null for
-- all, or {"view": "..."}; bankmirror_access, the id of a token (0010_access.sql).

CREATE FUNCTION sync.accounts_payload(account_id text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- PostgreSQL refuses a message of 8000 bytes, and with it the transaction. To name all is always right.
RETURN CASE WHEN account_id = '' OR octet_length(to_json(account_id)::text) > 7000 THEN '{"accounts": null}'
            ELSE '{"accounts": [' || to_json(account_id)::text || ']}' END;
COMMENT ON FUNCTION sync.accounts_payload IS 'The message that names one account; empty stands for the whole connection, and names all.';
GRANT EXECUTE ON FUNCTION sync.accounts_payload TO bankmirror_ingest;

CREATE FUNCTION sync.tell_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('bankmirror_changed', sync.accounts_payload(NEW.account_id));
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync.tell_changed IS 'Tell listeners that answers about the account of the row are no longer true.';

CREATE FUNCTION sync.tell_all() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('bankmirror_changed', '{"accounts": null}');
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION sync.tell_all IS 'Tell listeners that answers about any account may no longer be true.';

-- A poll that fails, recovers, completes or is parked, or confirms what was stale; a feed that is put aside for another;
-- and one of which more is expected than before: it was polled seldom, somebody read it, and it counts as stale sooner now.
-- A poll that only took less time than the one before ends its freshness a moment sooner as well; that is no news.
CREATE TRIGGER tell_changed AFTER UPDATE ON sync.targets FOR EACH ROW
    WHEN (OLD.complete <> NEW.complete
          OR OLD.in_use <> NEW.in_use
          OR OLD.last_error IS DISTINCT FROM NEW.last_error
          OR OLD.parked_reason IS DISTINCT FROM NEW.parked_reason
          OR (OLD.synced_at IS NULL) <> (NEW.synced_at IS NULL)
          OR NEW.fresh_until < OLD.fresh_until
             AND (NEW.synced_at = OLD.synced_at OR NEW.interval_seconds < OLD.interval_seconds)
          OR OLD.fresh_until < now() AND NEW.fresh_until >= now())
    EXECUTE FUNCTION sync.tell_changed();

CREATE TRIGGER tell_refused AFTER INSERT ON sync.quarantine FOR EACH ROW
    EXECUTE FUNCTION sync.tell_changed();
CREATE TRIGGER tell_resolved AFTER UPDATE ON sync.quarantine FOR EACH ROW
    WHEN (OLD.resolved_at IS DISTINCT FROM NEW.resolved_at)
    EXECUTE FUNCTION sync.tell_changed();

CREATE TRIGGER tell_opened AFTER INSERT ON sync.breakers FOR EACH ROW
    EXECUTE FUNCTION sync.tell_changed();
CREATE TRIGGER tell_changed AFTER UPDATE ON sync.breakers FOR EACH ROW
    WHEN (OLD.closed_at IS DISTINCT FROM NEW.closed_at OR OLD.absent <> NEW.absent OR OLD.held <> NEW.held)
    EXECUTE FUNCTION sync.tell_changed();

CREATE TRIGGER tell_raised AFTER INSERT ON sync.positional_ids FOR EACH ROW
    EXECUTE FUNCTION sync.tell_changed();
CREATE TRIGGER tell_changed AFTER UPDATE ON sync.positional_ids FOR EACH ROW
    WHEN (OLD.closed_at IS DISTINCT FROM NEW.closed_at OR OLD.rows_rewritten <> NEW.rows_rewritten)
    EXECUTE FUNCTION sync.tell_changed();

CREATE TRIGGER tell_suggested AFTER INSERT ON sync.account_links FOR EACH ROW
    EXECUTE FUNCTION sync.tell_changed();
CREATE TRIGGER tell_decided AFTER UPDATE ON sync.account_links FOR EACH ROW
    WHEN (OLD.state <> NEW.state)
    EXECUTE FUNCTION sync.tell_changed();

-- Every complete listing confirms its days; only once a day, or where a gap was read, are there new ones.
CREATE TRIGGER tell_covered AFTER INSERT ON sync.coverage FOR EACH ROW
    EXECUTE FUNCTION sync.tell_changed();
CREATE TRIGGER tell_changed AFTER UPDATE ON sync.coverage FOR EACH ROW
    WHEN (OLD.covered <> NEW.covered)
    EXECUTE FUNCTION sync.tell_changed();

CREATE TRIGGER tell_lapse AFTER UPDATE ON sync.connections FOR EACH ROW
    WHEN (OLD.lapse_days <> NEW.lapse_days)
    EXECUTE FUNCTION sync.tell_all();

-- ── views, transfers ─────────────────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION read.tell_refreshed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('bankmirror_changed', json_build_object('view', NEW.view_name)::text);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION read.tell_refreshed IS 'Tell listeners that answers which were read from the view are no longer true.';
CREATE TRIGGER tell_refreshed AFTER INSERT ON read.refreshes FOR EACH ROW
    EXECUTE FUNCTION read.tell_refreshed();

-- A channel of its own: the process of transfers looks for settled ones whenever the mirror changed, and what it did itself
-- is no reason to look. The call is not `sync.accounts_payload`: the role of transfers knows nothing of that schema.
CREATE FUNCTION transfer.tell_moved() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_notify('bankmirror_moved',
        CASE WHEN octet_length(to_json(NEW.source_account_id)::text) > 7000 THEN '{"accounts": null}'
             ELSE '{"accounts": [' || to_json(NEW.source_account_id)::text || ']}' END);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION transfer.tell_moved IS 'Tell listeners that a transfer is shown otherwise with its source account.';
CREATE TRIGGER tell_requested AFTER INSERT ON transfer.transfers FOR EACH ROW
    EXECUTE FUNCTION transfer.tell_moved();
CREATE TRIGGER tell_moved AFTER UPDATE ON transfer.transfers FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.bank_transaction_id IS DISTINCT FROM NEW.bank_transaction_id)
    EXECUTE FUNCTION transfer.tell_moved();

-- ── when the bank is asked next ──────────────────────────────────────────────────────────────────────────────────────

CREATE VIEW model.polls AS
SELECT account.account_id,
       target.feed,
       target.synced_at,
       CASE WHEN target.parked_reason IS NULL THEN target.due_at END AS due_at
  FROM snapshot.accounts AS account
  JOIN sync.targets AS target
    ON target.connection_id = account.connection_id
   AND target.account_id = ANY (ARRAY['', account.account_id])
   AND target.in_use;
COMMENT ON VIEW model.polls IS 'When each feed of each account was last read, and when it is asked next.';

CREATE VIEW read.polls AS
    SELECT whole.* FROM model.polls AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);
COMMENT ON VIEW read.polls IS 'When each feed of each account was last read, and when it is asked next.';
COMMENT ON COLUMN read.polls.due_at IS 'In the past while it is being asked. Null where it is asked no more.';

GRANT SELECT ON read.polls TO bankmirror_reader;
