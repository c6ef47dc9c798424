-- Every statement of the transfers process. Each one is a transaction of its own: what a statement changes, its audit
-- events and its notifications are committed together when it is answered, or not at all.
--
-- Rows are locked in the same order everywhere: first all the transfers, by key or by id, then the head of the audit
-- chain. A CTE is read row by row as it writes, so a statement that may wait for a transfer sorts what it wrote before the
-- first audit.append: with the head in hand it would keep everyone else from finishing, whoever it waits for included.

-- name: accounts_select
-- The mirrored accounts that requests name.
SELECT account_id, connection_id, currency, status FROM read.accounts WHERE account_id = ANY (%(account_ids)s::text[]);

-- name: attempts_select
-- Every contact with the bank about a transfer, in order.
SELECT attempt, kind, started_at, finished_at, verdict, http_status
  FROM transfer.attempts
 WHERE transfer_id = %(transfer_id)s::uuid
 ORDER BY attempt;

-- name: foreign_count
-- How many transfers wait for a process that talks to another bank than ours.
SELECT count(*)
  FROM transfer.transfers
 WHERE state IN ('ready', 'submitting', 'unknown')
   AND connection_id = %(connection_id)s::text
   AND bank_id <> %(bank_id)s::text;

-- name: head_select
-- Answers when the database and our part of the schema are there.
SELECT count(*) FROM (SELECT FROM transfer.transfers LIMIT 1) AS one;

-- name: history_select
-- What the audit chain says about a transfer, in order.
SELECT seq, at, actor, action, payload
  FROM transfer.history
 WHERE subject = 'transfer:' || %(transfer_id)s::uuid
 ORDER BY seq;

-- name: open_count
-- How many transfers are in each state that is not an end, and the age in seconds of the oldest in it. Ends are not
-- counted: their number only grows, and so would the time to count them.
SELECT state, count(*), extract(epoch FROM clock_timestamp() - min(created_at))::float8 AS oldest_seconds
  FROM transfer.transfers
 WHERE state IN ('pending_approval', 'ready', 'submitting', 'unknown', 'accepted', 'manual_review')
 GROUP BY state;

-- name: outcomes_record
-- What workers found out about transfers they hold. A row whose epoch has moved on is not touched: its worker slept
-- through its lease, and whoever took over decides. The attempt keeps what it saw in any case.
WITH given AS (
    SELECT *
      FROM unnest(%(transfer_id)s::uuid[], %(epoch)s::bigint[], %(attempt)s::integer[], %(from_state)s::text[],
                  %(to_state)s::text[], %(bank_transaction_id)s::text[], %(code)s::text[], %(detail)s::text[],
                  %(verdict)s::text[], %(http_status)s::integer[], %(pause)s::interval[])
           AS listed (transfer_id, epoch, attempt, from_state, to_state, bank_transaction_id, code, detail, verdict,
                      http_status, pause)
), noted AS (
    UPDATE transfer.attempts AS attempt
       SET finished_at = clock_timestamp(),
           verdict = given.verdict,
           http_status = given.http_status,
           detail = given.detail
      FROM given
     WHERE attempt.transfer_id = given.transfer_id
       AND attempt.attempt = given.attempt
), locked AS (
    SELECT transfer_id
      FROM transfer.transfers
     WHERE transfer_id IN (SELECT transfer_id FROM given)
     ORDER BY transfer_id
       FOR UPDATE
), moved AS (
    UPDATE transfer.transfers AS transfer
       SET state = given.to_state,
           bank_transaction_id = CASE given.to_state WHEN 'accepted' THEN given.bank_transaction_id
                                                     ELSE transfer.bank_transaction_id END,
           outcome_code = given.code,
           outcome_detail = given.detail,
           lease_holder = NULL,
           lease_until = NULL,
           -- A little later, each by another little: after an outage not all of them ask at once.
           next_attempt_at = clock_timestamp() + given.pause * (1 + random() / 5)
      FROM given
      JOIN locked USING (transfer_id)
     WHERE transfer.transfer_id = given.transfer_id
       AND transfer.epoch = given.epoch
       AND transfer.state = given.from_state
    RETURNING given.*
)
SELECT transfer_id, epoch,
       CASE WHEN from_state <> to_state THEN
           audit.append('transfers', 'transfer.' || to_state, 'transfer:' || transfer_id, jsonb_strip_nulls(
               jsonb_build_object('from', from_state, 'attempt', attempt, 'epoch', epoch, 'verdict', verdict,
                                  'http_status', http_status, 'code', code, 'bank_transaction_id', bank_transaction_id)))
       END AS seq,
       CASE WHEN from_state <> to_state THEN pg_notify('bankmirror_transfers', transfer_id::text) END
  FROM (SELECT * FROM moved ORDER BY transfer_id) AS done;

-- name: refusal_record
-- Note that a caller asked for what takes a scope that its token has not.
SELECT audit.append(%(actor)s::text, 'access.refused', 'token:' || %(actor)s::text,
                    jsonb_build_object('needs', %(scope)s::text)) AS seq;

-- name: resend_begin
-- Commit that the bytes of an unknown transfer are about to be sent again. Decided once more here, by the database's
-- clock and at the moment of the commit: a worker that slept since it decided finds another epoch, or the window shut.
WITH taken AS (
    UPDATE transfer.transfers AS transfer
       SET attempts = attempts + 1,
           lease_until = clock_timestamp() + %(lease)s::interval,
           next_attempt_at = clock_timestamp() + %(lease)s::interval
     WHERE transfer_id = %(transfer_id)s::uuid
       AND epoch = %(epoch)s::bigint
       AND state = 'unknown'
       AND clock_timestamp() < first_sent_at + %(window)s::interval
    RETURNING transfer_id, epoch, attempts
), opened AS (
    INSERT INTO transfer.attempts (transfer_id, attempt, kind, epoch, worker)
    SELECT transfer_id, attempts, 'post', epoch, %(worker)s::text FROM taken
), noted AS (
    UPDATE transfer.attempts AS attempt
       SET finished_at = clock_timestamp(),
           verdict = %(verdict)s::text,
           http_status = %(http_status)s::integer,
           detail = %(detail)s::text
      FROM taken
     WHERE attempt.transfer_id = taken.transfer_id
       AND attempt.attempt = taken.attempts - 1
)
SELECT attempts AS attempt,
       audit.append('transfers', 'transfer.sent_again', 'transfer:' || transfer_id,
                    jsonb_build_object('attempt', attempts, 'epoch', epoch)) AS seq
  FROM taken;

-- name: tokens_select
-- The tokens with these ids, as far as there are such.
SELECT asked.token_id, token.*
  FROM unnest(%(token_ids)s::text[]) AS asked (token_id)
 CROSS JOIN LATERAL access.token(asked.token_id) AS token;

-- name: transfer_select
-- One transfer. `logged`: the audit chain holds the request and the state that is shown.
SELECT transfer_id, source_account_id AS account_id, destination_account_id, amount_minor, currency, reference, memo,
       state, bank_transaction_id, outcome_code, attempts, created_at, updated_at,
       EXISTS (SELECT FROM transfer.history
                WHERE subject = 'transfer:' || transfer_id AND action = 'transfer.requested')
       AND (attempts = 0
            OR EXISTS (SELECT FROM transfer.history
                        WHERE subject = 'transfer:' || transfer_id AND action = 'transfer.' || state)) AS logged
  FROM transfer.transfers
 WHERE transfer_id = %(transfer_id)s::uuid;

-- name: transfers_claim
-- Take transfers that are ready, for one worker each. The attempt is committed here, before the bank hears of it. Those
-- of another bank are left to a process that talks to it.
WITH due AS (
    SELECT transfer_id
      FROM transfer.transfers
     WHERE state = 'ready'
       AND connection_id = %(connection_id)s::text
       AND bank_id = %(bank_id)s::text
       AND next_attempt_at <= clock_timestamp()
     ORDER BY next_attempt_at
     LIMIT %(slots)s::integer
       FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE transfer.transfers AS transfer
       SET state = 'submitting',
           epoch = epoch + 1,
           lease_holder = %(worker)s::text,
           lease_until = clock_timestamp() + %(lease)s::interval,
           next_attempt_at = clock_timestamp() + %(lease)s::interval,
           attempts = attempts + 1,
           first_sent_at = coalesce(first_sent_at, clock_timestamp())
      FROM due
     WHERE transfer.transfer_id = due.transfer_id
    RETURNING transfer.*
), opened AS (
    INSERT INTO transfer.attempts (transfer_id, attempt, kind, epoch, worker)
    SELECT transfer_id, attempts, 'post', epoch, lease_holder FROM taken
)
SELECT transfer_id, epoch, attempts AS attempt, state, source_account_id, destination_account_id, amount_minor, currency,
       bank_key, request_bytes, first_sent_at, first_sent_at AS last_sent_at, clock_timestamp() AS claimed_at,
       (SELECT count(*) FROM transfer.attempts AS earlier
         WHERE earlier.transfer_id = taken.transfer_id
           AND earlier.kind = 'post'
           AND earlier.verdict IS DISTINCT FROM 'not_sent'
           AND earlier.verdict IS DISTINCT FROM 'refused_credentials') AS posts,
       audit.append('transfers', 'transfer.submitting', 'transfer:' || transfer_id,
                    jsonb_build_object('from', 'ready', 'attempt', attempts, 'epoch', epoch)) AS seq,
       pg_notify('bankmirror_transfers', transfer_id::text)
  FROM taken;

-- name: transfers_find
-- The transfers that were asked for under some keys, each of its principal.
SELECT principal, client_key, transfer_id, fingerprint, source_account_id AS account_id, destination_account_id,
       amount_minor AS amount_cents, currency, reference, memo
  FROM transfer.transfers
  JOIN unnest(%(principal)s::text[], %(client_key)s::text[]) AS asked (principal, client_key)
 USING (principal, client_key);

-- name: transfers_insert
-- Record requests, ready to be sent. A key that is taken inserts nothing, whoever was first and however close.
-- Sorted, so that two processes with the same keys wait for each other in one order only.
WITH given AS (
    SELECT *
      FROM unnest(%(transfer_id)s::uuid[], %(principal)s::text[], %(client_key)s::text[], %(fingerprint)s::bytea[],
                  %(account_id)s::text[], %(destination_account_id)s::text[], %(amount_minor)s::bigint[],
                  %(currency)s::text[], %(reference)s::text[], %(memo)s::text[], %(connection_id)s::text[],
                  %(bank_id)s::text[], %(bank_key)s::text[], %(request_bytes)s::bytea[])
           AS listed (transfer_id, principal, client_key, fingerprint, account_id, destination_account_id, amount_minor,
                      currency, reference, memo, connection_id, bank_id, bank_key, request_bytes)
), inserted AS (
    INSERT INTO transfer.transfers (
        transfer_id, principal, client_key, fingerprint, source_account_id, destination_account_id, amount_minor, currency,
        reference, memo, connection_id, bank_id, bank_key, request_bytes, request_sha256, state)
    SELECT transfer_id, principal, client_key, fingerprint, account_id, destination_account_id, amount_minor, currency,
           reference, memo, connection_id, bank_id, bank_key, request_bytes, sha256(request_bytes), 'ready'
      FROM given
     ORDER BY principal, client_key
    ON CONFLICT ON CONSTRAINT one_transfer_per_client_key DO NOTHING
    RETURNING *
)
SELECT transfer_id,
       audit.append(principal, 'transfer.requested', 'transfer:' || transfer_id, jsonb_build_object(
           'to', state, 'account_id', source_account_id, 'destination_account_id', destination_account_id,
           'amount_minor', amount_minor, 'currency', currency, 'bank_id', bank_id, 'bank_key', bank_key,
           'fingerprint', encode(fingerprint, 'hex'), 'request_sha256', encode(request_sha256, 'hex'))) AS seq,
       pg_notify('bankmirror_transfers', transfer_id::text)
  FROM (SELECT * FROM inserted ORDER BY transfer_id) AS done;

-- name: transfers_settle
-- Settle what the mirrored feed shows as posted; how many.
SELECT transfer.settle(%(batch)s::integer) AS settled;

-- name: unresolved_claim
-- Take transfers whose outcome nobody knows: those that are unknown, and those whose worker let its lease pass, which is
-- the same. A look-up is committed for each, because asking always comes before sending. Only transfers of the bank that
-- is asked: that another one has never heard of them would look like leave to send them again.
WITH due AS (
    SELECT transfer_id, state AS was
      FROM transfer.transfers
     WHERE state IN ('submitting', 'unknown')
       AND connection_id = %(connection_id)s::text
       AND bank_id = %(bank_id)s::text
       AND next_attempt_at <= clock_timestamp()
       AND (lease_until IS NULL OR lease_until < clock_timestamp())
     ORDER BY next_attempt_at
     LIMIT %(slots)s::integer
       FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE transfer.transfers AS transfer
       SET state = 'unknown',
           epoch = epoch + 1,
           lease_holder = %(worker)s::text,
           lease_until = clock_timestamp() + %(lease)s::interval,
           next_attempt_at = clock_timestamp() + %(lease)s::interval,
           attempts = attempts + 1
      FROM due
     WHERE transfer.transfer_id = due.transfer_id
    RETURNING transfer.*, due.was
), opened AS (
    INSERT INTO transfer.attempts (transfer_id, attempt, kind, epoch, worker)
    SELECT transfer_id, attempts, 'lookup', epoch, lease_holder FROM taken
)
SELECT taken.transfer_id, epoch, attempts AS attempt, state, source_account_id, destination_account_id, amount_minor,
       currency, bank_key, request_bytes, first_sent_at, coalesce(sent.last_sent_at, first_sent_at) AS last_sent_at,
       clock_timestamp() AS claimed_at, sent.posts,
       CASE WHEN was = 'submitting' THEN
           audit.append('transfers', 'transfer.unknown', 'transfer:' || taken.transfer_id,
                        jsonb_build_object('from', was, 'attempt', attempts, 'epoch', epoch, 'code', 'lease-expired'))
       END AS seq,
       CASE WHEN was = 'submitting' THEN pg_notify('bankmirror_transfers', taken.transfer_id::text) END
  FROM taken
 CROSS JOIN LATERAL (
       SELECT count(*) AS posts,
              -- A POST whose worker died may have left at any moment of its lease.
              max(coalesce(finished_at, started_at + %(lease)s::interval)) AS last_sent_at
         FROM transfer.attempts AS attempt
        WHERE attempt.transfer_id = taken.transfer_id
          AND attempt.kind = 'post'
          AND attempt.verdict IS DISTINCT FROM 'not_sent'
          AND attempt.verdict IS DISTINCT FROM 'refused_credentials') AS sent;
