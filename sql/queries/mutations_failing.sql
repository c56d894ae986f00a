-- mutations_failing: changes of stored rows that fail again and again. Result: table, mutation, reason. Dedup: none.
SELECT table, mutation_id, latest_fail_reason FROM system.mutations
WHERE database = {database:String} AND NOT is_done AND latest_fail_reason != '' ORDER BY table, mutation_id LIMIT 10
