-- usage_rows: sums of usage, refunds and adjustments, from rows.
-- Text (usage_dimensions.go): {columns} "expression AS k0, ", {group} "k0, ", {keys} an array of their texts.
-- Params: parent ("": any), accounts ([]: any), from, to (ms, [from, to)), booked ("": any), zone, tag<i>.
-- Result: keys, currency, records, units, billed_units, amount, refunds, fees, adjustments.
-- Dedup: FINAL, the newest epoch of an identity.
SELECT {keys} AS keys, line_currency, records, units_sum, billed_sum, amount_sum, refunds_sum, fees_sum, adjustments_sum
FROM (
    SELECT {columns} r.currency AS line_currency,
        countIf(r.kind = 'usage') AS records,
        sumIf(r.units, r.kind = 'usage') AS units_sum,
        sumIf(r.billed_units, r.kind = 'usage') AS billed_sum,
        sumIf(r.amount, r.kind = 'usage') AS amount_sum,
        sumIf(r.amount, r.kind = 'refund') AS refunds_sum,
        sumIf(r.fee, r.kind = 'usage') AS fees_sum,
        sumIf(r.amount, r.kind = 'adjustment') AS adjustments_sum
    FROM {db}.records AS r FINAL
    WHERE ({parent:String} = '' OR r.parent_id = {parent:String})
      AND (empty({accounts:Array(String)}) OR r.account_id IN {accounts:Array(String)})
      AND r.kind IN ('usage', 'refund', 'adjustment')
      AND r.occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND r.occurred_at < fromUnixTimestamp64Milli({to:Int64})
      AND ({booked:String} = '' OR r.booked = {booked:String})
    GROUP BY {group} line_currency
)
ORDER BY {group} line_currency
