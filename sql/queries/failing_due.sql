-- failing_due: why messages may have to be refunded, as far as that is undecided.
-- Params: account, message: the last of the page before; at, arrived (ms): none later; limit.
-- Result: account_id, message_id, at, arrived, in the order of their keys. Dedup: FINAL: what collapses is left out.
-- The key is compared column by column: ClickHouse uses no index for tuples.
SELECT account_id, message_id, at, arrived FROM {db}.undecided FINAL
WHERE (account_id > {account:String} OR (account_id = {account:String} AND message_id > {message:String}))
  AND at <= fromUnixTimestamp64Milli({at:Int64}) AND arrived <= fromUnixTimestamp64Milli({arrived:Int64}) AND sign = 1
ORDER BY account_id, message_id, at, arrived LIMIT {limit:UInt64}
