-- retention_months: calendar months of UTC that have rows, the oldest first, with the newest month in which each
-- parent's rows of it are booked. Params: before (ms: only months that ended by then).
-- Result: month (YYYYMM), parent_id, booked. Dedup: none needed.
SELECT toYYYYMM(occurred_at) AS month, parent_id, max(booked) FROM {db}.records
WHERE toUnixTimestamp64Milli(toDateTime64(addMonths(toStartOfMonth(occurred_at), 1), 3, 'UTC')) <= {before:Int64}
GROUP BY month, parent_id ORDER BY month, parent_id
