-- messages: what refunds and corrections need of their messages. Params: accounts, ids (parallel arrays),
-- hashes (of those, as id_hash).
-- Result: one row a message, its charge and fee with what re-ratings added, the epoch that charged it, its content_hash,
-- what its refund gave back, and whether that was all that it came to by the corrections of before. Dedup: newest epoch.
SELECT m.account_id, m.id, m.charged + c.amount_sum, m.charged_fee + c.fee_sum, charged_purse, charged_currency, sent_channel,
    sent_direction, sent_country, sent_network, sent_category, sent_tags, rated_plan, rated_version, rated_rule, charged_epoch, content, given,
    is_refunded AND given = charged - charged_fee + arraySum(arrayMap(x -> if((x.1, x.2) < place, x.3, toDecimal64(0, 6)), c.changes)) AS whole
FROM (SELECT account_id, id,
    argMaxIf(amount, epoch, kind = 'usage') AS charged, argMaxIf(fee, epoch, kind = 'usage') AS charged_fee,
    toString(argMaxIf(purse, epoch, kind = 'usage')) AS charged_purse, argMaxIf(currency, epoch, kind = 'usage') AS charged_currency,
    argMaxIf(channel, epoch, kind = 'usage') AS sent_channel, toString(argMaxIf(direction, epoch, kind = 'usage')) AS sent_direction,
    argMaxIf(country, epoch, kind = 'usage') AS sent_country, argMaxIf(network, epoch, kind = 'usage') AS sent_network,
    argMaxIf(category, epoch, kind = 'usage') AS sent_category, argMaxIf(tags, epoch, kind = 'usage') AS sent_tags,
    argMaxIf(plan, epoch, kind = 'usage') AS rated_plan, argMaxIf(plan_version, epoch, kind = 'usage') AS rated_version,
    argMaxIf(rule, epoch, kind = 'usage') AS rated_rule, maxIf(epoch, kind = 'usage') AS charged_epoch,
    argMaxIf(content_hash, epoch, kind = 'usage') AS content,
    countIf(kind = 'refund') > 0 AS is_refunded, argMaxIf(amount, epoch, kind = 'refund') AS given, maxIf((epoch, seq), kind = 'refund') AS place
FROM {db}.records
PREWHERE id_hash IN {hashes:Array(UInt64)}
WHERE kind IN ('usage', 'refund') AND (account_id, id) IN (
    SELECT tupleElement(t, 1), tupleElement(t, 2)
    FROM (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {ids:Array(String)})) AS t)
)
GROUP BY account_id, id
HAVING countIf(kind = 'usage') > 0) AS m
LEFT JOIN (
    SELECT account_id, refers_to, sum(amount) AS amount_sum, sum(fee) AS fee_sum, groupArray((epoch, seq, amount - fee)) AS changes FROM {db}.records FINAL
    WHERE kind = 'adjustment' AND account_id IN {accounts:Array(String)} AND refers_to IN {ids:Array(String)}
    GROUP BY account_id, refers_to
) AS c ON c.account_id = m.account_id AND c.refers_to = m.id
