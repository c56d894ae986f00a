-- report_runs_latest: when each schedule was last due. Result: whose schedule, name, due_at. Dedup: none needed for a greatest.
SELECT if(owner = '', parent_id, owner) AS whose, name, max(due_at) FROM {db}.report_runs WHERE name != '' GROUP BY whose, name
