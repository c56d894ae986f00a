-- breakers_open: partitions, of whatever number of them, whose breaker is open. Result: partition, account_id, changed_at.
-- Dedup: newest change.
SELECT partition, argMax(account_id, changed_at), max(changed_at) AS at FROM {db}.breakers
GROUP BY partition HAVING argMax(open, changed_at) ORDER BY at, partition
