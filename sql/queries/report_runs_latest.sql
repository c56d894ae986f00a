-- report_runs_latest: when each schedule was last due. Result: parent_id, name, due_at. Dedup: none needed for a greatest.
SELECT parent_id, name, max(due_at) FROM {db}.report_runs WHERE name != '' GROUP BY parent_id, name
