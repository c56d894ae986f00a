-- sums: what the ledger holds of a parent's accounts for the projection:
-- rows of older epochs, and of this one up to a seq, booked after a closed month ("": all).
-- Params: parent, after, epoch, seq. Result: account_id, purse, booked, net. Dedup: FINAL.
SELECT account_id, toString(purse) AS purse_name, booked, sum(if(kind = 'refund', -amount, amount)) AS net
FROM {db}.records FINAL
WHERE parent_id = {parent:String} AND booked > {after:String} AND kind IN ('usage', 'refund', 'adjustment')
  AND (epoch < {epoch:UInt32} OR (epoch = {epoch:UInt32} AND seq <= {seq:UInt64}))
GROUP BY account_id, purse, booked
