-- What follows the load: indexes, and the triggers that keep balances. Every statement can be run again.

-- Ids are unique for ever, also across removals: nothing is ever re-used.
CREATE UNIQUE INDEX IF NOT EXISTS transactions_by_id ON bank.transactions (transaction_id);
-- The change feed.
CREATE UNIQUE INDEX IF NOT EXISTS transactions_by_position ON bank.transactions (position);
-- The listing, of one account and of all.
CREATE INDEX IF NOT EXISTS transactions_by_account_day ON bank.transactions (account_id, day, transaction_id);
CREATE INDEX IF NOT EXISTS transactions_by_day ON bank.transactions (day, transaction_id);
-- Rare values, which a walk along the days would look for in vain.
CREATE INDEX IF NOT EXISTS transactions_pending ON bank.transactions (day, transaction_id) WHERE status = 'pending';
CREATE INDEX IF NOT EXISTS transactions_by_client_reference ON bank.transactions (client_reference)
  WHERE client_reference IS NOT NULL;
CREATE INDEX IF NOT EXISTS holds_by_due ON bank.holds (due_at, transaction_id);
CREATE INDEX IF NOT EXISTS idempotency_keys_by_age ON bank.idempotency_keys (created_at);

CREATE OR REPLACE TRIGGER balances_follow_insert AFTER INSERT ON bank.transactions
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION bank.balances_follow();
CREATE OR REPLACE TRIGGER balances_follow_update AFTER UPDATE ON bank.transactions
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION bank.balances_follow();
CREATE OR REPLACE TRIGGER balances_follow_delete AFTER DELETE ON bank.transactions
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION bank.balances_follow();
