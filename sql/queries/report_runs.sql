-- report_runs: report runs, the newest due first.
-- Params: parent ("": any), run ("": any), states ([]: any), destination ("": any), limit. Dedup: newest version of a run.
SELECT run, parent_id, owner, name, audience, period, redacted, kind, formats, destinations, due_at, state, detail, files, round, next_at, version
FROM {db}.report_runs FINAL
WHERE ({parent:String} = '' OR parent_id = {parent:String}) AND ({run:String} = '' OR run = {run:String})
  AND (empty({states:Array(String)}) OR state IN {states:Array(String)})
  AND ({destination:String} = '' OR has(destinations, {destination:String}))
ORDER BY due_at DESC, parent_id, name, audience LIMIT {limit:UInt64}
