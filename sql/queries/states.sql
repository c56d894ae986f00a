-- states: an account's history of flags, oldest first. Params: accounts, from, to (ms). Dedup: FINAL.
SELECT account_id, epoch, flags, cause, period, actor, note, occurred_at FROM {db}.states FINAL
WHERE account_id IN {accounts:Array(String)} AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
ORDER BY epoch
