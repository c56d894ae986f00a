-- report_campaigns: sums of messages and their refunds by the message's tag "campaign", of accounts that use it.
-- Params: parent, accounts, booked ("": any), from, to (ms). A month has its own rows only, not what is late or corrects.
-- Result: account_id, campaign, records, billed_units, amount, fees, refunds. Dedup: FINAL.
SELECT l.account_id AS account, if(l.kind = 'refund', m.sent_campaign, l.own_campaign) AS campaign,
    countIf(l.kind = 'usage'), sumIf(toDecimal128(l.billed_units, 6), l.kind = 'usage'), sumIf(toDecimal128(l.amount, 6), l.kind = 'usage'),
    sumIf(toDecimal128(l.fee, 6), l.kind = 'usage'), sumIf(toDecimal128(l.amount, 6), l.kind = 'refund')
FROM (
    SELECT account_id, kind, id, tags['campaign'] AS own_campaign, billed_units, amount, fee FROM {db}.records FINAL
    WHERE parent_id = {parent:String} AND account_id IN {accounts:Array(String)} AND kind IN ('usage', 'refund')
      AND ({booked:String} = '' OR (booked = {booked:String} AND period = {booked:String}))
      AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64})
      AND account_id IN (
        SELECT DISTINCT account_id FROM {db}.records
        WHERE parent_id = {parent:String} AND account_id IN {accounts:Array(String)} AND kind = 'usage' AND tags['campaign'] != ''
          AND ({booked:String} = '' OR booked = {booked:String})
          AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64}))
) AS l
LEFT JOIN (
    SELECT account_id, id, tags['campaign'] AS sent_campaign FROM {db}.records FINAL
    WHERE parent_id = {parent:String} AND account_id IN {accounts:Array(String)} AND kind = 'usage' AND tags['campaign'] != ''
      AND (account_id, id) IN (
        SELECT account_id, id FROM {db}.records
        WHERE parent_id = {parent:String} AND account_id IN {accounts:Array(String)} AND kind = 'refund'
          AND ({booked:String} = '' OR booked = {booked:String})
          AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}) AND occurred_at < fromUnixTimestamp64Milli({to:Int64}))
) AS m ON m.account_id = l.account_id AND m.id = l.id
GROUP BY account, campaign
ORDER BY account, campaign
