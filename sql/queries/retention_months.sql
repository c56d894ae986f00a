-- retention_months: the months with which rows go, the oldest first, and the newest month in which each parent's rows
-- that go with it are booked. A row goes with the month of its bill, or of UTC if that is later; those of a month's
-- last hours with the next one: somewhere it has begun, and an hour's rows stay or go together.
-- Params: after, through (YYYYMM). Result: month (YYYYMM), parent_id, booked. Dedup: none needed.
SELECT greatest(toYYYYMM(addHours(occurred_at, 15)), toUInt32OrZero(replaceOne(booked, '-', ''))) AS month, parent_id, max(booked)
FROM {db}.records
WHERE toYYYYMM(occurred_at) <= {through:UInt32}
GROUP BY month, parent_id HAVING month > {after:UInt32} AND month <= {through:UInt32}
ORDER BY month, parent_id
