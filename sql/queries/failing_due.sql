-- failing_due: why messages may have to be refunded, as far as that is undecided.
-- Params: account, message: the last of the page before; at, arrived (ms): none later; limit.
-- Result: account_id, message_id, at, arrived, in the order of their keys. Dedup: what collapses is left out.
SELECT account_id, message_id, at, arrived FROM {db}.undecided
WHERE (account_id, message_id) > ({account:String}, {message:String})
  AND at <= fromUnixTimestamp64Milli({at:Int64}) AND arrived <= fromUnixTimestamp64Milli({arrived:Int64})
GROUP BY account_id, message_id, at, arrived HAVING sum(sign) > 0
ORDER BY account_id, message_id, at, arrived LIMIT {limit:UInt64}
SETTINGS optimize_aggregation_in_order = 1
