-- rollup_settled: a fingerprint of the hours that rollup_settled's readers take from rollups: those whose newest
-- roll began slack after the last mark. It is the same as long as they are the same rolls of the same hours.
-- Params: accounts ([]: any), first, last (s: of the hours), slack (ms).
-- Result: count, fingerprint. Dedup: the newest mark and generation of (account, hour).
SELECT count(), groupBitXor(cityHash64(account_id, utc_hour, newest)) FROM (
    SELECT account_id, utc_hour, max(built) AS newest FROM (
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
    HAVING newest > 0 AND max(marked) + {slack:Int64} <= newest
)
