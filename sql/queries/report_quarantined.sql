-- report_quarantined: entries that were open at an instant, by account and reason. An entry's newest version tells:
-- one that is open now, or was closed after the instant, was open then.
-- Params: accounts, as_of (ms). Result: account_id, reason, entries. Dedup: FINAL.
SELECT account_id, reason, count() FROM {db}.quarantine FINAL
WHERE account_id IN {accounts:Array(String)} AND quarantined_at <= fromUnixTimestamp64Milli({as_of:Int64})
  AND (state = 'open' OR version > {as_of:Int64} * 1000)
GROUP BY account_id, reason ORDER BY account_id, reason
