-- alert_marks: how far the alerts about some parents' accounts have come, for a rebuild.
-- Of a purse: how many top-ups and allocations it had, which is its mark, the base of its shares (what it held right
-- after the newest, nothing since it was swept, and what other transfers have moved since either), and the highest
-- share that was alerted since the newest. Of a ceiling or a monthly limit: the newest month with an alert, and its
-- highest share.
-- Params: parents. Result: account_id, limit (purse, credit, monthly_limit), mark, share, base. Dedup: FINAL; the highest share.
SELECT t.account_id AS account, 'purse' AS limited, toString(t.number) AS mark, max(if(a.raised_at >= t.newest_at, a.share, 0)) AS share,
    any(t.first_base + t.moved) AS base
FROM (
    SELECT account_id, countIf(fresh) AS number, argMaxIf(transferred_at, at, fresh) AS newest_at,
        argMaxIf(if(fresh, base, toDecimal128(0, 6)), at, fresh OR swept) AS first_base,
        arraySum(arrayMap(m -> if(m.1 > maxIf(at, fresh OR swept), m.2, toDecimal128(0, 6)), groupArray((at, amount)))) AS moved
    FROM (
        SELECT account_id, base, transferred_at, amount, (epoch, seq) AS at, line = 1 AND kind IN ('topup', 'allocate') AS fresh,
            line = 0 AND kind IN ('sweep', 'close') AS swept
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
