-- transfers: movements of an account's purse, oldest first. Params: account. Dedup: FINAL.
SELECT ref, kind, parent_id, account_id, purse, amount, currency, reason, actor, booked, transferred_at
FROM {db}.transfers FINAL WHERE account_id = {account:String} ORDER BY transferred_at, seq, ref
