-- bill_lines: the lines of a parent's month that its digest covers, in the digest's order.
-- `FORMAT TabSeparated` of it gives the digest's own bytes (metering.BillLine): an auditor runs it as it stands.
-- Params: parent, booked. Dedup: FINAL, the newest epoch of an identity.
WITH own AS (SELECT id FROM {db}.catalog WHERE kind = 'account' AND (id = {parent:String} OR parent_id = {parent:String}))
SELECT account_id, toString(kind) AS kind_name, id, period, toString(purse) AS purse_name, currency,
    toInt64(toDecimal128(amount, 6) * 1000000) AS amount_micros, toInt64(toDecimal128(fee, 6) * 1000000) AS fee_micros, plan, plan_version, rule
FROM {db}.records FINAL
WHERE account_id IN own AND parent_id = {parent:String} AND booked = {booked:String} AND kind IN ('usage', 'refund', 'adjustment')
ORDER BY account_id, kind_name, id
