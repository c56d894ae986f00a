-- quarantine_reasons: how many entries are in a state, by reason, the most first. Params: state, accounts ([]: any).
-- Result: reason, count, oldest, newest. Dedup: newest version of an id.
SELECT reason, count(), min(quarantined_at), max(quarantined_at)
FROM {db}.quarantine FINAL
WHERE state = {state:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
GROUP BY reason ORDER BY count() DESC, reason
