-- usage_since: the first instant of the messages that a query of usage by status needs: from,
-- or that of an older message that is refunded within [from, to).
-- Params: parent ("": any), accounts ([]: any), from, to (ms), booked (unused). Result: ms. Dedup: none needed for a least.
SELECT least({from:Int64}, ifNull((
    SELECT minOrNull(toUnixTimestamp64Milli(occurred_at)) FROM {db}.records
    WHERE ({parent:String} = '' OR parent_id = {parent:String})
      AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
      AND kind = 'usage' AND (account_id, id) IN (
        SELECT account_id, id FROM {db}.records
        WHERE ({parent:String} = '' OR parent_id = {parent:String})
          AND (empty({accounts:Array(String)}) OR account_id IN {accounts:Array(String)})
          AND kind = 'refund'
          AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64}))
), {from:Int64}))
