-- booked_twice: identities of a parent that are booked in a month and in another one too: copies with another
-- occurred_at, of which no set knew. Params: parent, accounts (array), booked, from (ms of occurred_at), limit.
-- Result: account_id, kind, id. Dedup: FINAL within each month of UTC.
SELECT account_id, toString(kind) AS kind_name, id
FROM {db}.records FINAL
WHERE account_id IN {accounts:Array(String)} AND parent_id = {parent:String} AND kind IN ('usage', 'refund')
  AND occurred_at >= fromUnixTimestamp64Milli({from:Int64})
GROUP BY account_id, kind, id
HAVING min(booked) != max(booked) AND countIf(booked = {booked:String}) > 0
ORDER BY account_id, kind_name, id LIMIT {limit:UInt64}
SETTINGS optimize_aggregation_in_order = 1, max_bytes_before_external_group_by = 268435456
