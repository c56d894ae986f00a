-- rollup_due: hours of UTC of accounts whose rollup is due, by account, as rows are sorted: over for a while, and
-- marked since their newest roll began (less slack, for the clocks of workers differ) but not just now: they are quiet.
-- A mark is of a local hour, which touches one or two hours of UTC.
-- Params: since (ms: marks from then on), before (ms: of marks and of the hours' ends), slack (ms), limit.
-- Result: account_id, hour. Dedup: the newest mark and generation of (account, hour).
SELECT account_id, utc_hour FROM (
    SELECT account_id, arrayJoin(arrayDistinct([toStartOfHour(hour), toStartOfHour(hour + 3599)])) AS utc_hour,
        toUnixTimestamp64Milli(marked_at) AS marked, 0 AS built
    FROM {db}.dirty_hours WHERE marked_at >= fromUnixTimestamp64Milli({since:Int64})
    UNION ALL
    SELECT account_id, hour AS utc_hour, 0 AS marked, toInt64(intDiv(generation, 1000)) AS built
    FROM {db}.usage_hourly
    WHERE (account_id, hour) IN (
        SELECT account_id, arrayJoin(arrayDistinct([toStartOfHour(hour), toStartOfHour(hour + 3599)]))
        FROM {db}.dirty_hours WHERE marked_at >= fromUnixTimestamp64Milli({since:Int64}))
)
GROUP BY account_id, utc_hour
HAVING max(marked) > 0 AND max(marked) + {slack:Int64} > max(built)
   AND max(marked) < {before:Int64} AND (toUnixTimestamp(utc_hour) + 3600) * 1000 < {before:Int64}
ORDER BY account_id, utc_hour
LIMIT {limit:UInt64}
