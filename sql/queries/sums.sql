-- sums: what the ledger holds of some parents' accounts for the projection: rows of older epochs, and of this one up
-- to a seq, booked after a closed month ("": all). Rows are sorted by account, so the catalog tells which to read.
-- Params: parents, after, seqs (parallel arrays), epoch.
-- Result: parent_id, account_id, purse, booked, net. Dedup: FINAL.
SELECT parent_id, account_id, toString(purse) AS purse_name, booked, sum(if(kind = 'refund', -amount, amount)) AS net
FROM {db}.records FINAL
WHERE account_id IN {families}
  AND parent_id IN {parents:Array(String)} AND kind IN ('usage', 'refund', 'adjustment')
  AND booked > transform(parent_id, {parents:Array(String)}, {after:Array(String)}, '')
  AND (epoch < {epoch:UInt32} OR (epoch = {epoch:UInt32} AND seq <= transform(parent_id, {parents:Array(String)}, {seqs:Array(UInt64)}, toUInt64(0))))
GROUP BY parent_id, account_id, purse, booked
