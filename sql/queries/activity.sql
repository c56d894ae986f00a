-- activity: messages by what a reader without sight of money may group by: account, day, hour, channel, direction and how
-- their delivery ended. It selects no money, and no units but how long a call was.
-- The outcome, r.latest_status, is a message's latest status by (occurred_at, rank, id), among its own and its status rows
-- that were charged up to an epoch's seq and are dated no more than slack before it.
-- Text (usage_dimensions.go): {columns} "expression AS k0, ", {groups} "k0, k1", {keys} an array of their texts.
-- Params: parent, accounts ([]: any), booked ("": any), from, to (ms, of the message), zone, epoch, seq, slack (ms).
-- Result: keys, messages, call_seconds (as reported, voice only).
-- Dedup: FINAL, the newest epoch of an identity.
-- Only messages with status rows take memory, and what is too much of it goes to disk: a month may have any number.
WITH {ranks} AS ranks, (
    SELECT min(toUnixTimestamp64Milli(occurred_at)) FROM {db}.records
    WHERE parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
      AND kind = 'usage' AND ({booked:String} = '' OR booked = {booked:String})
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
) AS first_sent
SELECT {keys} AS keys, messages, call_seconds
FROM (
    SELECT {columns} count() AS messages,
        toInt64(round(sum(multiIf(r.channel != 'voice', toDecimal64(0, 6), r.unit = 'second', r.units, r.unit = 'minute', r.units * 60, toDecimal64(0, 6))))) AS call_seconds
    FROM (
        SELECT m.account_id AS account_id, m.occurred_at AS occurred_at, m.channel AS channel, m.direction AS direction, m.unit AS unit, m.units AS units,
            tupleElement(if(s.last_at + {slack:Int64} >= m.sent_at, greatest(s.newest, m.own), m.own), 4) AS latest_status
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
    ) AS r
    GROUP BY {groups}
)
ORDER BY {groups}
SETTINGS max_bytes_before_external_group_by = 268435456, join_algorithm = 'grace_hash', max_bytes_in_join = 268435456
