-- report_alerts: alerts that were raised about accounts, oldest first; one that a later projection raised again counts once.
-- Params: accounts, from, to (ms). Dedup: the first of each (account, limit, mark, share).
SELECT account_id, limit_kind, share, min(raised_at) AS first_raised
FROM {db}.alerts
WHERE account_id IN {accounts:Array(String)}
GROUP BY account_id, limit_kind, mark, share
HAVING first_raised >= fromUnixTimestamp64Milli({from:Int64}) AND first_raised < fromUnixTimestamp64Milli({to:Int64})
ORDER BY account_id, first_raised, limit_kind, share
