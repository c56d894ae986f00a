-- 0022_invoiced: whether an adjustment is on an invoice, as the operator said. Those of
-- before aren't, as far as is known.
ALTER TABLE transfers ADD COLUMN IF NOT EXISTS invoiced UInt8 DEFAULT 0
;
CREATE OR REPLACE VIEW finance_transfers AS
SELECT parent_id, account_id, booked, ref, line, kind, purse, amount, currency, reason, actor, transferred_at, invoiced
FROM {db}.transfers FINAL
