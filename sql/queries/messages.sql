-- messages: what refunds need of their messages. Params: accounts, ids (parallel arrays).
-- Result: one row a message. Dedup: newest epoch.
SELECT account_id, id,
    argMax(amount, epoch) AS charged, argMax(fee, epoch) AS charged_fee, toString(argMax(purse, epoch)) AS charged_purse,
    argMax(currency, epoch) AS charged_currency, argMax(channel, epoch) AS sent_channel, toString(argMax(direction, epoch)) AS sent_direction,
    argMax(country, epoch) AS sent_country, argMax(network, epoch) AS sent_network, argMax(category, epoch) AS sent_category,
    argMax(plan, epoch) AS rated_plan, argMax(plan_version, epoch) AS rated_version, argMax(rule, epoch) AS rated_rule
FROM {db}.records
WHERE kind = 'usage' AND (account_id, id) IN (
    SELECT tupleElement(t, 1), tupleElement(t, 2)
    FROM (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {ids:Array(String)})) AS t)
)
GROUP BY account_id, id
