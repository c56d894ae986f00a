-- report_transfers: movements of the purses of a parent's accounts, oldest first.
-- Params: parent, booked ("": any), from, to (ms). Dedup: FINAL.
SELECT ref, kind, parent_id, account_id, purse, amount, currency, reason, actor, booked, transferred_at
FROM {db}.transfers FINAL
WHERE parent_id = {parent:String} AND account_id != '' AND ({booked:String} = '' OR booked = {booked:String})
  AND transferred_at >= fromUnixTimestamp64Milli({from:Int64}) AND transferred_at < fromUnixTimestamp64Milli({to:Int64})
ORDER BY account_id, transferred_at, seq, ref, line
