-- months_open: months of a parent before a period that have a record or a transfer and aren't closed.
-- Params: parent, before. Result: booked. Dedup: newest version of a closing.
SELECT DISTINCT booked FROM (
    SELECT booked FROM {db}.records WHERE account_id IN {family} AND parent_id = {parent:String} AND booked < {before:String} AND kind IN ('usage', 'refund', 'adjustment')
    UNION ALL
    SELECT booked FROM {db}.transfers WHERE parent_id = {parent:String} AND booked < {before:String}
)
WHERE booked NOT IN (SELECT period FROM {db}.closings WHERE parent_id = {parent:String} AND state = 'closed')
ORDER BY booked
