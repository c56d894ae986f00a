-- 0012_sums: sums may be larger than one record's amount. Nothing that a closed
-- month says, and no digest, changes: its figures stand as they are, only wider.
ALTER TABLE closings
    MODIFY COLUMN amount Decimal(38, 6),
    MODIFY COLUMN refunds Decimal(38, 6),
    MODIFY COLUMN adjustments Decimal(38, 6)
;
-- A sweep moves all that a purse holds.
ALTER TABLE transfers MODIFY COLUMN amount Decimal(38, 6)
;
-- Views keep the types of what they read when they were made.
CREATE OR REPLACE VIEW finance_transfers AS
SELECT parent_id, account_id, booked, ref, line, kind, purse, amount, currency, reason, actor, transferred_at
FROM {db}.transfers FINAL
;
CREATE OR REPLACE VIEW finance_months AS
SELECT parent_id, period, state, starts_at, ends_at, records, amount, refunds, adjustments,
    amount - refunds + adjustments AS billable, lines, digest, as_of
FROM {db}.closings FINAL
