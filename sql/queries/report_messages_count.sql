-- report_messages_count: about how many messages a detail has, for whoever waits for it. It may count one twice
-- that was stored twice.
-- Params: parent, accounts ([]: any), booked ("": any), from, to (ms). Dedup: none.
SELECT count() FROM {db}.records
WHERE account_id IN {family} AND parent_id = {parent:String} AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
  AND kind = 'usage' AND ({booked:String} = '' OR booked = {booked:String})
  AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
