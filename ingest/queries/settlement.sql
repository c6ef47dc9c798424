-- Identity: pending entries that became posted ones, where the bank does not say so.

-- name: holds_note
-- The pending entries of accounts that a posted one came in, which names none: those that are shown, those that come with
-- it, and those that ended lately without a successor.
INSERT INTO holds (
    account_id, transaction_id, day, amount_minor, currency, description, counterparty_name, counterparty_account_id,
    client_reference)
SELECT account_id, transaction_id, (created_at AT TIME ZONE 'UTC')::date, amount_minor, currency, description,
       counterparty_name, counterparty_account_id, client_reference
  FROM snapshot.transactions AS stored
 WHERE status = 'pending' AND account_id = ANY (%(accounts)s)
   AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM incoming)
UNION ALL
SELECT account_id, transaction_id, (created_at AT TIME ZONE 'UTC')::date, amount_minor, currency, description,
       counterparty_name, counterparty_account_id, client_reference
  FROM incoming
 WHERE status = 'pending' AND account_id = ANY (%(accounts)s)
UNION ALL
SELECT DISTINCT ON (account_id, transaction_id)
       account_id, transaction_id, (created_at AT TIME ZONE 'UTC')::date, amount_minor, currency, description,
       counterparty_name, counterparty_account_id, client_reference
  FROM snapshot.transaction_revisions AS was
 WHERE known_to > now() - make_interval(days => %(days)s) AND ended_by IN ('removed', 'absent') AND status = 'pending'
   AND account_id = ANY (%(accounts)s)
   AND NOT EXISTS (
       SELECT FROM snapshot.transactions AS stored
        WHERE (stored.account_id, stored.transaction_id) = (was.account_id, was.transaction_id))
   AND (was.account_id, was.transaction_id) NOT IN (SELECT account_id, transaction_id FROM incoming)
   AND NOT EXISTS (
       SELECT FROM snapshot.transaction_links AS link
        WHERE (link.account_id, link.predecessor_id) = (was.account_id, was.transaction_id)
          AND link.state IN ('linked', 'confirmed'));

-- name: came_accounts
-- The accounts in which a posted entry came that names no pending one.
SELECT coalesce(array_agg(DISTINCT account_id), '{}') AS accounts
  FROM came WHERE status = 'posted' AND pending_transaction_id IS NULL;

-- name: holds_note_ended
-- Pending entries that end now without a successor, and that nothing was found for when it came.
INSERT INTO holds (
    account_id, transaction_id, day, amount_minor, currency, description, counterparty_name, counterparty_account_id,
    client_reference)
SELECT account_id, transaction_id, (created_at AT TIME ZONE 'UTC')::date, amount_minor, currency, description,
       counterparty_name, counterparty_account_id, client_reference
  FROM ended
 WHERE status = 'pending' AND ended_by IN ('removed', 'absent')
   AND NOT EXISTS (
       SELECT FROM snapshot.transaction_links AS link
        WHERE (link.account_id, link.predecessor_id) = (ended.account_id, ended.transaction_id));

-- name: came_note_posted
-- What was posted about that time, and is shown.
INSERT INTO came (
    account_id, transaction_id, status, day, amount_minor, currency, description, counterparty_name,
    counterparty_account_id, client_reference, pending_transaction_id, created_at, fingerprint)
SELECT DISTINCT ON (stored.account_id, stored.transaction_id)
       stored.account_id, stored.transaction_id, stored.status, stored.booked_on, stored.amount_minor, stored.currency,
       stored.description, stored.counterparty_name, stored.counterparty_account_id, stored.client_reference,
       stored.pending_transaction_id, stored.created_at, ''
  FROM holds
  JOIN snapshot.transactions AS stored
    ON stored.account_id = holds.account_id AND stored.status = 'posted' AND stored.pending_transaction_id IS NULL
   AND stored.created_at >= holds.day - 1 AND stored.created_at < holds.day + %(days)s::integer + 1
   AND stored.currency = holds.currency AND sign(stored.amount_minor) = sign(holds.amount_minor)
   AND abs(stored.amount_minor - holds.amount_minor) <= %(tolerance)s * abs(holds.amount_minor)
 WHERE (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended)
   AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM came);

-- name: links_suggest_settled
-- Which pending entry each posted one may have been: the same text or counterparty, the same direction, within days, and
-- the same amount or nearly (a tip, fuel, an exchange rate). The nearest few; who is it is decided when one is gone.
INSERT INTO snapshot.transaction_links AS link (
    account_id, predecessor_id, successor_id, kind, evidence, confidence, state, run_id)
SELECT account_id, predecessor_id, successor_id, 'settled', evidence,
       CASE evidence WHEN 'bank-reference' THEN 0.95 WHEN 'fingerprint' THEN 0.90 ELSE 0.50 END, 'suggested', %(run_id)s
  FROM (SELECT holds.account_id, holds.transaction_id AS predecessor_id, came.transaction_id AS successor_id, evidence,
               row_number() OVER (
                   PARTITION BY came.account_id, came.transaction_id
                   ORDER BY evidence = 'resembles', abs(came.amount_minor - holds.amount_minor),
                            abs(came.day - holds.day), holds.transaction_id) AS place
          FROM came JOIN holds
            ON holds.account_id = came.account_id AND holds.currency = came.currency
           AND sign(came.amount_minor) = sign(holds.amount_minor)
           AND abs(came.amount_minor - holds.amount_minor) <= %(tolerance)s * abs(holds.amount_minor)
           AND came.day BETWEEN holds.day - 1 AND holds.day + %(days)s::integer
           AND came.transaction_id <> holds.transaction_id
         CROSS JOIN LATERAL (
               SELECT came.client_reference = holds.client_reference AS by_reference,
                      came.description = holds.description AS by_text,
                      (came.counterparty_name, came.counterparty_account_id)
                          IS NOT DISTINCT FROM (holds.counterparty_name, holds.counterparty_account_id) AS by_party,
                      came.counterparty_name = holds.counterparty_name
                          OR came.counterparty_account_id = holds.counterparty_account_id AS by_name) AS alike
         CROSS JOIN LATERAL (
               SELECT CASE WHEN came.amount_minor = holds.amount_minor AND by_reference THEN 'bank-reference'
                           WHEN came.amount_minor = holds.amount_minor AND by_text AND by_party THEN 'fingerprint'
                           WHEN by_reference OR by_text OR by_name THEN 'resembles' END AS evidence) AS judged
         WHERE came.status = 'posted' AND came.pending_transaction_id IS NULL AND evidence IS NOT NULL) AS candidate
 WHERE place <= %(candidates_max)s
ON CONFLICT (account_id, predecessor_id, successor_id) DO NOTHING;

-- name: links_settle
-- A pending entry is gone, and one posted entry fits it exactly, and fits no other one: they are the same money.
WITH candidate AS (
    SELECT account_id, predecessor_id, successor_id,
           count(*) OVER (PARTITION BY account_id, predecessor_id) AS successors,
           count(*) OVER (PARTITION BY account_id, successor_id) AS predecessors
      FROM snapshot.transaction_links AS link
     WHERE state = 'suggested' AND kind = 'settled' AND evidence IN ('bank-reference', 'fingerprint')
       AND account_id = ANY (ARRAY(SELECT account_id FROM ended UNION SELECT account_id FROM incoming))
       AND (EXISTS (
               SELECT FROM snapshot.transactions AS stored
                WHERE (stored.account_id, stored.transaction_id) = (link.account_id, link.successor_id)
                  AND NOT EXISTS (
                      SELECT FROM ended
                       WHERE (ended.account_id, ended.transaction_id) = (link.account_id, link.successor_id)
                         AND ended.ended_by <> 'changed'))
            OR EXISTS (
               SELECT FROM incoming
                WHERE (incoming.account_id, incoming.transaction_id) = (link.account_id, link.successor_id))))
UPDATE snapshot.transaction_links AS link
   SET state = 'linked', run_id = %(run_id)s, found_at = now()
  FROM candidate
 WHERE (link.account_id, link.predecessor_id, link.successor_id)
     = (candidate.account_id, candidate.predecessor_id, candidate.successor_id)
   AND candidate.successors = 1 AND candidate.predecessors = 1
   AND NOT EXISTS (
       SELECT FROM incoming
        WHERE (incoming.account_id, incoming.transaction_id) = (link.account_id, link.predecessor_id))
   AND NOT EXISTS (
       SELECT FROM snapshot.transactions AS stored
        WHERE (stored.account_id, stored.transaction_id) = (link.account_id, link.predecessor_id)
          AND NOT EXISTS (
              SELECT FROM ended
               WHERE (ended.account_id, ended.transaction_id) = (link.account_id, link.predecessor_id)
                 AND ended.ended_by IN ('removed', 'absent')));

-- name: links_void
-- What is linked now is no candidate for another one any more.
UPDATE snapshot.transaction_links AS link
   SET state = 'rejected', decided_at = now(), decided_by = 'ingest',
       note = 'settled as ' || made.predecessor_id || ' -> ' || made.successor_id
  FROM snapshot.transaction_links AS made
 WHERE made.run_id = %(run_id)s AND made.state = 'linked' AND made.kind = 'settled'
   AND made.account_id = ANY (ARRAY(SELECT account_id FROM ended UNION SELECT account_id FROM incoming))
   AND link.account_id = made.account_id AND link.state = 'suggested' AND link.kind = 'settled'
   AND (link.predecessor_id = made.predecessor_id OR link.successor_id = made.successor_id);

-- name: ended_settle
-- What is linked ended as settled, and not as removed.
UPDATE ended
   SET ended_by = 'settled', successor_id = link.successor_id
  FROM snapshot.transaction_links AS link
 WHERE (link.account_id, link.predecessor_id) = (ended.account_id, ended.transaction_id)
   AND link.kind = 'settled' AND link.state IN ('linked', 'confirmed')
   AND ended.status = 'pending' AND ended.ended_by IN ('removed', 'absent');

-- name: links_suggest_same
-- One client reference, amount and day under two ids, both posted: the bank may show one entry twice.
INSERT INTO snapshot.transaction_links (
    account_id, predecessor_id, successor_id, kind, evidence, confidence, state, run_id)
SELECT came.account_id, twin.transaction_id, came.transaction_id, 'same', 'bank-reference', 0.60, 'suggested', %(run_id)s
  FROM came
  JOIN LATERAL (
       SELECT transaction_id FROM snapshot.transactions AS stored
        WHERE stored.account_id = came.account_id AND stored.client_reference = came.client_reference
          AND stored.status = 'posted' AND stored.amount_minor = came.amount_minor AND stored.booked_on = came.day
          AND stored.transaction_id <> came.transaction_id
          AND (stored.account_id, stored.transaction_id) NOT IN (SELECT account_id, transaction_id FROM ended)
       UNION ALL
       SELECT transaction_id FROM came AS beside
        WHERE beside.account_id = came.account_id AND beside.client_reference = came.client_reference
          AND beside.status = 'posted' AND beside.amount_minor = came.amount_minor AND beside.day = came.day
          AND beside.transaction_id < came.transaction_id
        LIMIT %(candidates_max)s) AS twin ON true
 WHERE came.status = 'posted' AND came.client_reference IS NOT NULL
ON CONFLICT (account_id, predecessor_id, successor_id) DO NOTHING;
