-- report_waiting: refunds that waited for their message at an instant, by account.
-- Params: accounts, as_of (ms). Result: account_id, refunds. Dedup: FINAL.
SELECT account_id, count() FROM {db}.waiting FINAL
WHERE account_id IN {accounts:Array(String)} AND since <= fromUnixTimestamp64Milli({as_of:Int64})
  AND (state = 'waiting' OR version > {as_of:Int64} * 1000)
GROUP BY account_id ORDER BY account_id
