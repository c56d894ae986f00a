-- report_opening: what came to each purse of a parent's accounts by transfers and charges that are booked after a
-- closed month ("": all) and before a period. Params: parent, after, booked. Result: account_id, balance. Dedup: FINAL.
SELECT purse_of, sum(total) AS balance FROM (
    SELECT account_id AS purse_of, sum(amount) AS total FROM {db}.transfers FINAL
    WHERE parent_id = {parent:String} AND account_id != '' AND booked > {after:String} AND booked < {booked:String}
    GROUP BY purse_of
    UNION ALL
    SELECT if(purse = 'wallet', parent_id, account_id) AS purse_of, sum(if(kind = 'refund', amount, -amount)) AS total
    FROM {db}.records FINAL
    WHERE account_id IN {family} AND parent_id = {parent:String} AND kind IN ('usage', 'refund', 'adjustment') AND purse IN ('wallet', 'budget')
      AND booked > {after:String} AND booked < {booked:String}
    GROUP BY purse_of
)
GROUP BY purse_of ORDER BY purse_of
