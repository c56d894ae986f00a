-- changed_hours: local hours of a parent's accounts whose rows have changed since an instant. Params: parent, since (ms).
-- Result: account_id, hour. Dedup: none needed.
SELECT DISTINCT account_id, hour FROM {db}.dirty_hours
WHERE marked_at >= fromUnixTimestamp64Milli({since:Int64})
  AND account_id IN {family}
ORDER BY account_id, hour
