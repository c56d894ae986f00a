-- os_memory: memory of ClickHouse's machine as it last looked; no row where it doesn't. Result: available and total bytes. Dedup: none.
SELECT toInt64(anyIf(value, metric = 'OSMemoryAvailable')) AS available, toInt64(anyIf(value, metric = 'OSMemoryTotal')) AS total
FROM system.asynchronous_metrics WHERE metric IN ('OSMemoryAvailable', 'OSMemoryTotal') HAVING total > 0
