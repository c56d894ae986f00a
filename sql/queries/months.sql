-- months: what each month's bill comes to, by the month that it is booked in: of every month with a record or a transfer.
-- Records are usage records, late ones of closed months too; their money and that of corrections is in adjustments.
-- Params: parent ("": any). Result: parent_id, booked, records, amount, refunds, adjustments. Dedup: FINAL.
SELECT parent, month, sum(records), sum(amounts), sum(refunded), sum(adjusted) FROM (
    SELECT parent_id AS parent, booked AS month, countIf(kind = 'usage') AS records,
        sumIf(amount, kind = 'usage' AND period = booked) AS amounts,
        sumIf(amount, kind = 'refund' AND period = booked) AS refunded,
        sumIf(if(kind = 'refund', -amount, amount), kind = 'adjustment' OR (kind IN ('usage', 'refund') AND period != booked)) AS adjusted
    FROM {db}.records FINAL
    WHERE ({parent:String} = '' OR (account_id IN {family} AND parent_id = {parent:String})) AND kind IN ('usage', 'refund', 'adjustment')
    GROUP BY parent, month
    UNION ALL
    SELECT parent_id AS parent, booked AS month, 0 AS records, toDecimal128(0, 6) AS amounts, toDecimal128(0, 6) AS refunded, toDecimal128(0, 6) AS adjusted
    FROM {db}.transfers FINAL
    WHERE ({parent:String} = '' OR parent_id = {parent:String})
    GROUP BY parent, month
)
GROUP BY parent, month ORDER BY parent, month
