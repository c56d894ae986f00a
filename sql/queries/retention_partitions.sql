-- retention_partitions: months of UTC, up to one, that have rows. Params: through (YYYYMM). Result: month (YYYYMM).
SELECT DISTINCT toYYYYMM(occurred_at) AS month FROM {db}.records WHERE toYYYYMM(occurred_at) <= {through:UInt32} ORDER BY month
