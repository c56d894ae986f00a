-- failing_due: why messages have to be looked at by now, whether they are refunded: of each parent in its turn, the
-- oldest first. Params: at, arrived (ms): none later that wasn't looked at yet; now (ms); limit.
-- Result: parent_id, account_id, message_id, again (0: not looked at yet, 1: too soon, 2: its refund was handed over),
-- due, arrived. Dedup: FINAL: what collapses is left out.
-- A page has no more of a parent than its limit: no more of each is given a turn.
SELECT parent_id, account_id, message_id, again, due, arrived FROM (
    SELECT *, row_number() OVER (PARTITION BY parent_id ORDER BY due, account_id, message_id, arrived) AS turn FROM (
        SELECT parent_id, account_id, message_id, again, due, arrived FROM {db}.refund_looks FINAL
        WHERE sign = 1 AND (again = 0 AND due <= fromUnixTimestamp64Milli({at:Int64}) AND arrived <= fromUnixTimestamp64Milli({arrived:Int64})
            OR again > 0 AND due <= fromUnixTimestamp64Milli({now:Int64}))
        ORDER BY again, due LIMIT {limit:UInt64} BY parent_id))
ORDER BY turn, due, parent_id, account_id, message_id, arrived LIMIT {limit:UInt64}
