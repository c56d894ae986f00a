-- report_runs: report runs, the newest due first.
-- Params: parent ("": any), run ("": any), states ([]: any), limit. Dedup: newest version of a run.
SELECT run, parent_id, name, audience, period, redacted, formats, destinations, due_at, state, detail, files, version, kind
FROM {db}.report_runs FINAL
WHERE ({parent:String} = '' OR parent_id = {parent:String}) AND ({run:String} = '' OR run = {run:String})
  AND (empty({states:Array(String)}) OR state IN {states:Array(String)})
ORDER BY due_at DESC, parent_id, name, audience LIMIT {limit:UInt64}
