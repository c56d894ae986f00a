-- sums_transfers: what transfers brought to each purse of some parents' accounts, booked after a closed month ("": all).
-- Params: parents, after, seqs (parallel arrays), epoch, as sums. Result: parent_id, account_id, total. Dedup: FINAL.
SELECT parent_id, account_id, sum(amount) AS total
FROM {db}.transfers FINAL
WHERE parent_id IN {parents:Array(String)} AND account_id != ''
  AND booked > transform(parent_id, {parents:Array(String)}, {after:Array(String)}, '')
  AND (epoch < {epoch:UInt32} OR (epoch = {epoch:UInt32} AND seq <= transform(parent_id, {parents:Array(String)}, {seqs:Array(UInt64)}, toUInt64(0))))
GROUP BY parent_id, account_id
