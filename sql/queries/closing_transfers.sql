-- closing_transfers: what transfers brought to each purse of a parent's accounts that are booked after a closed
-- month ("": all) and up to one that closes. Params: parent, after, through. Result: account_id, total. Dedup: FINAL.
SELECT account_id, sum(amount) AS total FROM {db}.transfers FINAL
WHERE parent_id = {parent:String} AND account_id != '' AND booked > {after:String} AND booked <= {through:String}
GROUP BY account_id
