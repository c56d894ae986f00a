-- 0010_finance_views: views for people who query ClickHouse themselves. Their
-- names and columns stay (docs/finance.md); the tables below them may change.

-- finance_charges: each line of every bill, once: messages, refunds, corrections.
CREATE OR REPLACE VIEW finance_charges AS
SELECT parent_id, account_id, booked, period, toString(kind) AS kind, id, occurred_at, channel, toString(direction) AS direction,
    country, network, category, units, unit, billed_units,
    if(r.kind = 'usage', r.amount, toDecimal64(0, 6)) AS amount, r.fee AS fees,
    if(r.kind = 'refund', r.amount, toDecimal64(0, 6)) AS refunds,
    if(r.kind = 'adjustment', r.amount, toDecimal64(0, 6)) AS adjustments,
    if(r.kind = 'refund', -r.amount, r.amount) AS billable,
    currency, plan, plan_version, rule, toString(purse) AS purse, tags, stored_at
FROM {db}.records AS r FINAL
WHERE r.kind IN ('usage', 'refund', 'adjustment')
;
-- finance_transfers: money moved by hand, a line for each side of each transfer.
CREATE OR REPLACE VIEW finance_transfers AS
SELECT parent_id, account_id, booked, ref, line, kind, purse, amount, currency, reason, actor, transferred_at
FROM {db}.transfers FINAL
;
-- finance_months: months that are closed or being closed, as they were fixed.
CREATE OR REPLACE VIEW finance_months AS
SELECT parent_id, period, state, starts_at, ends_at, records, amount, refunds, adjustments,
    toDecimal128(amount, 6) - refunds + adjustments AS billable, lines, digest, as_of
FROM {db}.closings FINAL
;
-- finance_accounts: accounts as they were applied last.
CREATE OR REPLACE VIEW finance_accounts AS
SELECT id AS account_id, if(parent_id = '', id, parent_id) AS parent_id, JSONExtractString(newest, 'name') AS name,
    JSONExtractString(newest, 'module') AS module, JSONExtractString(newest, 'mode') AS mode, JSONExtractString(newest, 'source') AS source,
    JSONExtractString(newest, 'currency') AS currency, JSONExtractString(newest, 'zones', -1, 'zone') AS timezone
FROM (SELECT id, argMax(parent_id, number) AS parent_id, argMax(doc, number) AS newest FROM {db}.catalog WHERE kind = 'account' GROUP BY id)
