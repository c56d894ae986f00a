-- retention_months: the months with which rows go, the oldest first, and the newest month in which each parent's rows
-- that go with it are booked. {goes}: see goes in the ledger.
-- Params: after, through (YYYYMM). Result: month (YYYYMM), parent_id, booked. Dedup: none needed.
SELECT {goes} AS month, parent_id, max(booked)
FROM {db}.records
WHERE toYYYYMM(occurred_at) <= {through:UInt32}
GROUP BY month, parent_id HAVING month > {after:UInt32} AND month <= {through:UInt32}
ORDER BY month, parent_id
