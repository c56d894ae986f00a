-- rerate_rows: a parent's messages that a plan rated, with what corrections and refunds did to each, and whether a
-- refund gave back all that the message came to by the corrections of before.
-- Params: parent, account ("": any), period ("": any), from (ms of occurred_at), numbers (1: only messages without
-- any). The tags of a message with numbers are left out. Dedup: FINAL, the newest epoch of an identity.
SELECT u.account_id, u.id, u.period, u.occurred_at, u.channel, toString(u.direction) AS direction_name, u.recipient, u.sender, u.country, u.network,
    u.category, u.units, u.unit, u.amount, u.fee, toString(u.purse) AS purse_name,
    r.refunded, c.corrected, c.corrected_fee, u.currency, if(u.recipient = '' AND u.sender = '', u.tags, map()) AS some_tags, u.content_hash,
    is_refunded AND r.refunded = u.amount - u.fee + arraySum(arrayMap(x -> if((x.1, x.2) < r.place, x.3, toDecimal64(0, 6)), c.changes)) AS whole
FROM (
    SELECT * FROM {db}.records FINAL
    WHERE account_id IN {family} AND parent_id = {parent:String} AND ({account:String} = '' OR account_id = {account:String})
      AND kind = 'usage' AND plan != ''
      AND ({numbers:UInt8} = 0 OR (recipient = '' AND sender = ''))
      AND ({period:String} = '' OR period = {period:String}) AND occurred_at >= fromUnixTimestamp64Milli({from:Int64})
) AS u
LEFT JOIN (
    SELECT account_id, id, sum(amount) AS refunded, max((epoch, seq)) AS place, 1 AS is_refunded FROM {db}.records FINAL
    WHERE account_id IN {family} AND parent_id = {parent:String} AND ({account:String} = '' OR account_id = {account:String}) AND kind = 'refund'
    GROUP BY account_id, id
) AS r ON r.account_id = u.account_id AND r.id = u.id
LEFT JOIN (
    SELECT account_id, refers_to, sum(amount) AS corrected, sum(fee) AS corrected_fee, groupArray((epoch, seq, amount - fee)) AS changes FROM {db}.records FINAL
    WHERE account_id IN {family} AND parent_id = {parent:String} AND ({account:String} = '' OR account_id = {account:String}) AND kind = 'adjustment'
    GROUP BY account_id, refers_to
) AS c ON c.account_id = u.account_id AND c.refers_to = u.id
ORDER BY u.account_id, u.id
