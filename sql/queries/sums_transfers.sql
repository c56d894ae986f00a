-- sums_transfers: what transfers brought to each purse of a parent's accounts,
-- booked after a closed month ("": all). Params: parent, after, epoch, seq. Result: account_id, total. Dedup: FINAL.
SELECT account_id, sum(amount) AS total
FROM {db}.transfers FINAL
WHERE parent_id = {parent:String} AND booked > {after:String} AND account_id != ''
  AND (epoch < {epoch:UInt32} OR (epoch = {epoch:UInt32} AND seq <= {seq:UInt64}))
GROUP BY account_id
