-- messages: what refunds need of their messages. Params: accounts, ids (parallel arrays).
-- Result: one row a message, its charge and fee with what re-ratings added, and the epoch that charged
-- it. Dedup: newest epoch.
SELECT m.account_id, m.id, m.charged + c.amount_sum, m.charged_fee + c.fee_sum, charged_purse, charged_currency, sent_channel,
    sent_direction, sent_country, sent_network, sent_category, sent_tags, rated_plan, rated_version, rated_rule, charged_epoch
FROM (SELECT account_id, id,
    argMax(amount, epoch) AS charged, argMax(fee, epoch) AS charged_fee, toString(argMax(purse, epoch)) AS charged_purse,
    argMax(currency, epoch) AS charged_currency, argMax(channel, epoch) AS sent_channel, toString(argMax(direction, epoch)) AS sent_direction,
    argMax(country, epoch) AS sent_country, argMax(network, epoch) AS sent_network, argMax(category, epoch) AS sent_category, argMax(tags, epoch) AS sent_tags,
    argMax(plan, epoch) AS rated_plan, argMax(plan_version, epoch) AS rated_version, argMax(rule, epoch) AS rated_rule,
    max(epoch) AS charged_epoch
FROM {db}.records
WHERE kind = 'usage' AND (account_id, id) IN (
    SELECT tupleElement(t, 1), tupleElement(t, 2)
    FROM (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {ids:Array(String)})) AS t)
)
GROUP BY account_id, id) AS m
LEFT JOIN (
    SELECT account_id, refers_to, sum(amount) AS amount_sum, sum(fee) AS fee_sum FROM {db}.records FINAL
    WHERE kind = 'adjustment' AND account_id IN {accounts:Array(String)} AND refers_to IN {ids:Array(String)}
    GROUP BY account_id, refers_to
) AS c ON c.account_id = m.account_id AND c.refers_to = m.id
