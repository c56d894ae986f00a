-- report_messages: all rows of messages that a bill or some days have, message by message: the message (part 1), what was
-- given back (2), corrections (3, with the reference of their re-rating), statuses (4) by (occurred_at, rank, id). Whoever reads them folds them into lines.
-- Statuses are those charged up to an epoch's seq. A status dated more than slack before its message is none of its.
-- Params: parent, accounts ([]: any), booked ("": any), from, to (ms, of what has an amount), epoch, seq, slack (ms).
-- Dedup: FINAL, the newest epoch of an identity.
WITH (
    SELECT ifNull(minOrNull(toUnixTimestamp64Milli(occurred_at)), 9000000000000) FROM {db}.records
    WHERE account_id IN {family} AND parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
      AND kind = 'usage' AND ({booked:String} = '' OR booked = {booked:String})
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
) AS first_sent
SELECT account_id, if(kind IN ('status', 'adjustment') AND refers_to != '', refers_to, id) AS message, toUInt8(indexOf(['usage', 'refund', 'adjustment', 'status'], toString(kind))) AS part,
    occurred_at, channel, toString(direction) AS direction_name, status, error_code, recipient, sender, country, network, category,
    toInt64(toDecimal128(units, 6) * 1000000) AS units_micros, unit, toInt64(toDecimal128(billed_units, 6) * 1000000) AS billed_micros,
    toInt64(toDecimal128(amount, 6) * 1000000) AS amount_micros, toInt64(toDecimal128(fee, 6) * 1000000) AS fee_micros,
    currency, plan, plan_version, rule, tags['campaign'] AS campaign, if(empty(tags), '', toJSONString(tags)) AS all_tags, period, booked,
    toUInt8(indexOf({ranks}, status)) AS rank, if(kind = 'status', id, '') AS row_id,
    if(kind = 'adjustment' AND refers_to != '', substring(id, 1, length(id) - length(refers_to) - 1), '') AS booked_by
FROM {db}.records FINAL
WHERE account_id IN {family} AND parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)}) AND (
    kind IN ('usage', 'refund', 'adjustment') AND ({booked:String} = '' OR booked = {booked:String})
        AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
    OR kind = 'status' AND status != '' AND occurred_at >= fromUnixTimestamp64Milli(first_sent - {slack:Int64})
        AND (epoch < {epoch:UInt32} OR (epoch = {epoch:UInt32} AND seq <= {seq:UInt64})))
ORDER BY account_id, message, part, occurred_at, rank, id
SETTINGS max_bytes_before_external_sort = 268435456, max_threads = 2, max_block_size = 16384
