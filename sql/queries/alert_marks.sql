-- alert_marks: how far the alerts about some parents' accounts have come, for a rebuild.
-- Of a purse: how many top-ups and allocations it had, which is its mark, what it held right after the newest and what
-- other transfers have moved since, and the highest share that was alerted since. Of a ceiling or a monthly limit: the
-- newest month with an alert, and its highest share.
-- Params: parents. Result: account_id, limit (purse, credit, monthly_limit), mark, share, base. Dedup: FINAL; the highest share.
SELECT t.account_id AS account, 'purse' AS limited, toString(t.number) AS mark, max(if(a.raised_at >= t.newest_at, a.share, 0)) AS share,
    any(t.newest_base + t.moved) AS base
FROM (
    SELECT account_id, countIf(fresh) AS number, argMaxIf(base, at, fresh) AS newest_base, argMaxIf(transferred_at, at, fresh) AS newest_at,
        arraySum(arrayMap(m -> if(m.1 > maxIf(at, fresh), m.2, toDecimal128(0, 6)), groupArray((at, amount)))) AS moved
    FROM (
        SELECT account_id, base, transferred_at, amount, (epoch, seq) AS at, line = 1 AND kind IN ('topup', 'allocate') AS fresh
        FROM {db}.transfers FINAL
        WHERE parent_id IN {parents:Array(String)} AND account_id != ''
    )
    GROUP BY account_id
    HAVING number > 0
) AS t
LEFT JOIN (
    SELECT account_id, share, raised_at FROM {db}.alerts
    WHERE parent_id IN {parents:Array(String)} AND limit_kind IN ('wallet', 'budget')
) AS a ON a.account_id = t.account_id
GROUP BY t.account_id, t.number
UNION ALL
SELECT account_id, toString(limit_kind), tupleElement(max((mark, share)) AS newest, 1), tupleElement(newest, 2), toDecimal128(0, 6)
FROM {db}.alerts
WHERE parent_id IN {parents:Array(String)} AND limit_kind IN ('credit', 'monthly_limit')
GROUP BY account_id, limit_kind
