-- quarantine_count: open entries by reason. Params: accounts ([]: any). Dedup: newest version of an id.
SELECT reason, count() FROM {db}.quarantine FINAL
WHERE state = 'open' AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
GROUP BY reason ORDER BY reason
