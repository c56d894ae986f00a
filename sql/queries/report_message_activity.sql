-- report_message_activity: report_messages for a reader without sight of money: messages (part 1) and their statuses (4).
-- It selects no money, no units but how long a call was, no tags, no plan and no period of a bill.
-- Params and dedup as report_messages.
WITH (
    SELECT ifNull(minOrNull(toUnixTimestamp64Milli(occurred_at)), 9000000000000) FROM {db}.records
    WHERE account_id IN {family} AND parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
      AND kind = 'usage' AND ({booked:String} = '' OR booked = {booked:String})
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
) AS first_sent
SELECT account_id, if(kind = 'status', refers_to, id) AS message, toUInt8(if(kind = 'usage', 1, 4)) AS part,
    occurred_at, channel, toString(direction) AS direction_name, status, error_code, recipient, sender, country,
    toInt64(round(multiIf(channel != 'voice', toDecimal64(0, 6), unit = 'second', units, unit = 'minute', units * 60, toDecimal64(0, 6)))) AS call_seconds,
    toUInt8(indexOf({ranks}, status)) AS rank, if(kind = 'status', id, '') AS row_id
FROM {db}.records FINAL
WHERE account_id IN {family} AND parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)}) AND (
    kind = 'usage' AND ({booked:String} = '' OR booked = {booked:String})
        AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
    OR kind = 'status' AND status != '' AND occurred_at >= fromUnixTimestamp64Milli(first_sent - {slack:Int64})
        AND (epoch < {epoch:UInt32} OR (epoch = {epoch:UInt32} AND seq <= {seq:UInt64})))
ORDER BY account_id, message, part, occurred_at, rank, id
SETTINGS max_bytes_before_external_sort = 268435456, max_threads = 2, max_block_size = 16384
