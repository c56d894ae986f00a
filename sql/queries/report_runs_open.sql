-- report_runs_open: runs that aren't done and whose round should have begun, the oldest first.
-- Params: before (ms), limit. Result: run, round. Dedup: newest version of a run.
SELECT run, tupleElement(newest, 2) AS round_now FROM (
    SELECT run, argMax((state, round, next_at), version) AS newest, min(due_at) AS due FROM {db}.report_runs GROUP BY run
)
WHERE tupleElement(newest, 1) IN ('pending', 'running') AND tupleElement(newest, 3) <= fromUnixTimestamp64Milli({before:Int64})
ORDER BY due, run LIMIT {limit:UInt64}
