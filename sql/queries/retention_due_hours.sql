-- retention_due_hours: how many hours before an instant are marked and not rolled since, as in rollup_settled.
-- Params: before (ms), slack (ms).
SELECT count() FROM (
    SELECT account_id, utc_hour FROM (
        SELECT account_id, arrayJoin(arrayDistinct([toStartOfHour(hour), toStartOfHour(hour + 3599)])) AS utc_hour,
            toUnixTimestamp64Milli(marked_at) AS marked, 0 AS built
        FROM {db}.dirty_hours WHERE hour < toDateTime(intDiv({before:Int64}, 1000), 'UTC')
        UNION ALL
        SELECT account_id, hour AS utc_hour, 0 AS marked, toInt64(intDiv(generation, 1000)) AS built
        FROM {db}.usage_hourly WHERE hour < toDateTime(intDiv({before:Int64}, 1000), 'UTC')
    )
    GROUP BY account_id, utc_hour
    HAVING max(marked) > 0 AND max(marked) + {slack:Int64} > max(built) AND utc_hour < toDateTime(intDiv({before:Int64}, 1000), 'UTC')
)
