-- usage_rollups: what usage_rows gives, from the rollups of settled hours and the rows of the rest.
-- The caller compares rollup_settled before and after: both parts must have meant the same hours.
-- Text and params as usage_rows; and whole_from, whole_to (ms: the whole quarters within [from, to)), edges (1: there
-- may be rows outside of them), first, last, slack as rollup_settled. Result as usage_rows.
-- Rows of accounts without an unsettled hour aren't looked at: rows are sorted by account, not by time.
-- Dedup: FINAL, the newest epoch of an identity and the newest generation of an hour.
WITH hours AS (
    SELECT account_id, utc_hour, max(built) > 0 AND max(marked) + {slack:Int64} <= max(built) AS is_settled FROM (
        SELECT account_id, hour AS utc_hour, toInt64(intDiv(generation, 1000)) AS built, 0 AS marked FROM {db}.usage_hourly
        WHERE (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
          AND hour >= toDateTime({first:Int64}, 'UTC') AND hour <= toDateTime({last:Int64}, 'UTC')
        UNION ALL
        SELECT account_id, arrayJoin([toStartOfHour(hour), toStartOfHour(hour + 3599)]) AS utc_hour, 0 AS built, toUnixTimestamp64Milli(marked_at) AS marked
        FROM {db}.dirty_hours
        WHERE (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
          AND hour >= toDateTime({first:Int64} - 3600, 'UTC') AND hour <= toDateTime({last:Int64} + 3600, 'UTC')
    )
    GROUP BY account_id, utc_hour
),
settled AS (SELECT account_id, utc_hour FROM hours WHERE is_settled)
SELECT {keys} AS keys, line_currency, sum(records), sum(units_sum), sum(billed_sum), sum(amount_sum), sum(refunds_sum), sum(fees_sum), sum(adjustments_sum)
FROM (
    SELECT {columns} r.currency AS line_currency,
        sum(r.records) AS records, sum(r.units) AS units_sum, sum(r.billed_units) AS billed_sum, sum(r.amount) AS amount_sum,
        sum(r.refunds) AS refunds_sum, sum(r.fees) AS fees_sum, sum(r.adjustments) AS adjustments_sum
    FROM (
        SELECT account_id, x.slot AS occurred_at, x.parent_id AS parent_id, x.period AS period, x.booked AS booked, x.channel AS channel,
            x.direction AS direction, x.country AS country, x.network AS network, x.category AS category, x.unit AS unit,
            x.currency AS currency, x.purse AS purse, x.plan AS plan, x.plan_version AS plan_version, x.rule AS rule, x.records AS records,
            x.units AS units, x.billed_units AS billed_units, x.amount AS amount, x.refunds AS refunds, x.fees AS fees, x.adjustments AS adjustments
        FROM (
            SELECT account_id, lines FROM {db}.usage_hourly FINAL
            WHERE (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
              AND hour >= toDateTime({first:Int64}, 'UTC') AND hour <= toDateTime({last:Int64}, 'UTC')
              AND (account_id, hour) IN (SELECT account_id, utc_hour FROM settled)
        )
        ARRAY JOIN lines AS x
    ) AS r
    WHERE ({parent:String} = '' OR r.parent_id = {parent:String}) AND ({booked:String} = '' OR r.booked = {booked:String})
      AND r.occurred_at >= toDateTime(intDiv({whole_from:Int64}, 1000), 'UTC') AND r.occurred_at < toDateTime(intDiv({whole_to:Int64}, 1000), 'UTC')
    GROUP BY {group} line_currency
    UNION ALL
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
      AND ({edges:UInt8} = 1 OR r.account_id IN (SELECT account_id FROM hours WHERE NOT is_settled))
      AND NOT (r.occurred_at >= fromUnixTimestamp64Milli({whole_from:Int64}) AND r.occurred_at < fromUnixTimestamp64Milli({whole_to:Int64})
          AND (r.account_id, toDateTime(toStartOfHour(r.occurred_at), 'UTC')) IN (SELECT account_id, utc_hour FROM settled))
    GROUP BY {group} line_currency
)
GROUP BY {group} line_currency
ORDER BY {group} line_currency
