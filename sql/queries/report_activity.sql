-- report_activity: messages by day, channel, direction and how their delivery ended. It selects no money.
-- The outcome is a message's latest status by (occurred_at, rank, id), among its own and its status rows that
-- were charged up to an epoch's seq and are dated no more than slack before it.
-- Params: parent, accounts ([]: any), booked ("": any), from, to (ms, of the message), zone, epoch, seq, slack (ms).
-- Result: account_id, day, channel, direction, status, messages, call_seconds (as reported, voice only).
-- Dedup: FINAL, the newest epoch of an identity.
WITH (
    SELECT min(toUnixTimestamp64Milli(occurred_at)) FROM {db}.records
    WHERE parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
      AND kind = 'usage' AND ({booked:String} = '' OR booked = {booked:String})
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
) AS first_sent
SELECT m.account_id AS account, toString(toDate32(m.occurred_at, {zone:String})) AS day, m.channel AS channel,
    toString(m.direction) AS direction_name, s.latest_status AS outcome, count() AS messages,
    toInt64(round(sum(multiIf(m.channel != 'voice', toDecimal64(0, 6), m.unit = 'second', m.units, m.unit = 'minute', m.units * 60, toDecimal64(0, 6))))) AS call_seconds
FROM (
    SELECT account_id, id, occurred_at, channel, direction, unit, toDecimal128(units, 6) AS units FROM {db}.records FINAL
    WHERE parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
      AND kind = 'usage' AND ({booked:String} = '' OR booked = {booked:String})
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
) AS m
LEFT JOIN (
    SELECT account_id, message, if(
            maxIf(sent_at, kind = 'status' AND status != '') + {slack:Int64} >= maxIf(sent_at, kind = 'usage'),
            max((at, rank, id, status)),
            maxIf((at, rank, id, status), kind = 'usage')) AS newest,
        tupleElement(newest, 4) AS latest_status
    FROM (
        SELECT account_id, kind, if(kind = 'usage', id, refers_to) AS message, id, status,
            toUnixTimestamp64Milli(occurred_at) AS sent_at, if(status = '', 0, sent_at) AS at,
            indexOf(['accepted', 'queued', 'sent', 'undelivered', 'failed', 'delivered', 'read'], status) AS rank
        FROM {db}.records FINAL
        WHERE parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
          AND kind IN ('usage', 'status') AND occurred_at >= fromUnixTimestamp64Milli(first_sent - {slack:Int64})
          AND (kind = 'usage' OR epoch < {epoch:UInt32} OR (epoch = {epoch:UInt32} AND seq <= {seq:UInt64}))
    )
    GROUP BY account_id, message
) AS s ON s.account_id = m.account_id AND s.message = m.id
GROUP BY account, day, channel, direction_name, outcome
ORDER BY account, day, channel, direction_name, outcome
