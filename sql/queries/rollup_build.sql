-- rollup_build: rolls hours of UTC of accounts anew, each as a whole; one without rows gets no lines.
-- Params: accounts, hours (seconds; parallel arrays), from, to (ms: around all of them), generation.
-- Dedup: FINAL, the newest epoch of an identity; two rolls of an hour: the newest generation.
INSERT INTO {db}.usage_hourly (account_id, hour, generation, lines)
WITH pairs AS (
    SELECT tupleElement(p, 1) AS account_id, toDateTime(tupleElement(p, 2), 'UTC') AS hour
    FROM (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {hours:Array(UInt32)})) AS p)
)
SELECT p.account_id, p.hour, {generation:UInt64},
    groupArrayIf((slot, parent_id, period, booked, channel, toString(direction), country, network, category, unit, currency, toString(purse),
        plan, plan_version, rule, records, units_sum, billed_sum, amount_sum, refunds_sum, fees_sum, adjustments_sum), r.found = 1)
FROM pairs AS p
LEFT JOIN (
    SELECT account_id, toDateTime(toStartOfHour(occurred_at), 'UTC') AS hour, toDateTime(toStartOfFifteenMinutes(occurred_at), 'UTC') AS slot,
        parent_id, period, booked, channel, direction, country, network, category, unit, currency,
        purse, plan, plan_version, rule, 1 AS found,
        countIf(kind = 'usage') AS records,
        sumIf(units, kind = 'usage') AS units_sum,
        sumIf(billed_units, kind = 'usage') AS billed_sum,
        sumIf(amount, kind = 'usage') AS amount_sum,
        sumIf(amount, kind = 'refund') AS refunds_sum,
        sumIf(fee, kind = 'usage') AS fees_sum,
        sumIf(amount, kind = 'adjustment') AS adjustments_sum
    FROM {db}.records FINAL
    WHERE account_id IN {accounts:Array(String)} AND kind IN ('usage', 'refund', 'adjustment')
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
      AND (account_id, toDateTime(toStartOfHour(occurred_at), 'UTC')) IN (SELECT account_id, hour FROM pairs)
    GROUP BY account_id, hour, slot, parent_id, period, booked, channel, direction, country, network, category, unit, currency,
        purse, plan, plan_version, rule
) AS r ON r.account_id = p.account_id AND r.hour = p.hour
GROUP BY p.account_id, p.hour
