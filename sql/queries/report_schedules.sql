-- report_schedules: every version of an account, oldest first. Params: account.
-- Result: doc, applied_at. Dedup: one row of (id, number).
SELECT any(doc), min(applied_at) FROM {db}.catalog WHERE kind = 'account' AND id = {account:String}
GROUP BY number ORDER BY number
