-- rerates_open: parents with a re-rating that hasn't ended. Params: parents. Dedup: FINAL.
SELECT DISTINCT parent_id FROM {db}.rerate_runs FINAL WHERE parent_id IN {parents:Array(String)} AND ended = 0
