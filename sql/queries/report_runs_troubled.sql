-- report_runs_troubled: runs that were given up, or are under way after a try, whose newest round began after an instant; the newest first.
-- Params: from (ms), limit. Result: run, parent_id, owner, name, destinations, state, detail. Dedup: newest version of a run.
-- Only of the runs that are found the wide columns are read.
SELECT run, parent_id, owner, name, destinations, state, detail FROM {db}.report_runs FINAL
WHERE run IN (
    SELECT run FROM (SELECT run, argMax((state, next_at), version) AS newest FROM {db}.report_runs GROUP BY run)
    WHERE tupleElement(newest, 1) IN ('running', 'failed') AND tupleElement(newest, 2) >= fromUnixTimestamp64Milli({from:Int64})
    ORDER BY tupleElement(newest, 2) DESC, run LIMIT {limit:UInt64}
)
ORDER BY next_at DESC, run
