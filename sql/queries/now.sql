-- now: ClickHouse's time. Result: now. Dedup: none.
SELECT now64(3, 'UTC')
