-- report_transfers: movements of the purses of a parent's accounts, oldest first, with
-- whose purse is the other side ('': the world outside).
-- Params: parent, booked ("": any), from, to (ms). Dedup: FINAL.
SELECT t.ref, t.kind, t.parent_id, t.account_id, t.purse, t.amount, t.currency, t.reason, t.actor, t.booked, t.transferred_at,
    other.account_id, t.balance_after, t.invoiced
FROM
(
    SELECT * FROM {db}.transfers FINAL
    WHERE parent_id = {parent:String} AND account_id != '' AND ({booked:String} = '' OR booked = {booked:String})
      AND transferred_at >= fromUnixTimestamp64Milli({from:Int64}) AND transferred_at < fromUnixTimestamp64Milli({to:Int64})
) AS t
LEFT JOIN
(
    SELECT ref, toUInt8(1 - line) AS line, account_id FROM {db}.transfers FINAL WHERE parent_id = {parent:String}
) AS other ON other.ref = t.ref AND other.line = t.line
ORDER BY t.account_id, t.transferred_at, t.seq, t.ref, t.line
