-- report_activity: messages by day, channel, direction and how their delivery ended. It selects no money.
-- The outcome is a message's latest status by (occurred_at, rank, id), among its own and its status rows that
-- were charged up to an epoch's seq and are dated no more than slack before it.
-- Params: parent, accounts ([]: any), booked ("": any), from, to (ms, of the message), zone, epoch, seq, slack (ms).
-- Result: account_id, day, channel, direction, status, messages, call_seconds (as reported, voice only).
-- Dedup: FINAL, the newest epoch of an identity.
-- Only messages with status rows take memory, and what is too much of it goes to disk: a month may have any number.
WITH {ranks} AS ranks, (
    SELECT min(toUnixTimestamp64Milli(occurred_at)) FROM {db}.records
    WHERE parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
      AND kind = 'usage' AND ({booked:String} = '' OR booked = {booked:String})
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
) AS first_sent
SELECT m.account_id AS account, toString(toDate32(m.occurred_at, {zone:String})) AS day, m.channel AS channel,
    toString(m.direction) AS direction_name,
    tupleElement(if(s.last_at + {slack:Int64} >= m.sent_at, greatest(s.newest, m.own), m.own), 4) AS outcome, count() AS messages,
    toInt64(round(sum(multiIf(m.channel != 'voice', toDecimal64(0, 6), m.unit = 'second', m.units, m.unit = 'minute', m.units * 60, toDecimal64(0, 6))))) AS call_seconds
FROM (
    SELECT account_id, id, occurred_at, toUnixTimestamp64Milli(occurred_at) AS sent_at, channel, direction, unit, toDecimal128(units, 6) AS units,
        (if(status = '', 0, sent_at), indexOf(ranks, status), id, toString(status)) AS own
    FROM {db}.records FINAL
    WHERE parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
      AND kind = 'usage' AND ({booked:String} = '' OR booked = {booked:String})
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
) AS m
LEFT JOIN (
    SELECT account_id, refers_to AS message, maxIf(sent_at, status != '') AS last_at,
        max((if(status = '', 0, sent_at), indexOf(ranks, status), id, toString(status))) AS newest
    FROM (
        SELECT account_id, refers_to, id, status, toUnixTimestamp64Milli(occurred_at) AS sent_at FROM {db}.records FINAL
        WHERE parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
          AND kind = 'status' AND occurred_at >= fromUnixTimestamp64Milli(first_sent - {slack:Int64})
          AND (epoch < {epoch:UInt32} OR (epoch = {epoch:UInt32} AND seq <= {seq:UInt64}))
    )
    GROUP BY account_id, message
) AS s ON s.account_id = m.account_id AND s.message = m.id
GROUP BY account, day, channel, direction_name, outcome
ORDER BY account, day, channel, direction_name, outcome
SETTINGS max_bytes_before_external_group_by = 268435456, join_algorithm = 'grace_hash', max_bytes_in_join = 268435456
