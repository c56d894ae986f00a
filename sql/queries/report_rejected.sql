-- report_rejected: how many entries were open at an instant, by account, without their reasons, refunds and
-- corrections. Params: accounts, as_of (ms). Result: account_id, entries. Dedup: FINAL. See report_quarantined.
SELECT account_id, count() FROM {db}.quarantine FINAL
WHERE account_id IN {accounts:Array(String)} AND quarantined_at <= fromUnixTimestamp64Milli({as_of:Int64})
  AND (state = 'open' OR version > {as_of:Int64} * 1000) AND kind NOT IN ('refund', 'adjustment')
GROUP BY account_id ORDER BY account_id
