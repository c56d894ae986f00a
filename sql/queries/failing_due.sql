-- failing_due: messages whose latest status may have them refunded.
-- Params: account, message: the last of the page before; limit. Result: one row a message, with its charge and its latest status by
-- (occurred_at, rank, id); stored is 0 where the message hasn't come; refunded where it has a refund.
-- Dedup: newest version of failing; newest epoch of records.
WITH due AS (SELECT account_id, message_id, version FROM {db}.failing FINAL
        WHERE NOT done AND (account_id, message_id) > ({account:String}, {message:String})
        ORDER BY account_id, message_id LIMIT {limit:UInt64}),
    rows AS (
        SELECT account_id, toString(kind) AS what, id, refers_to, argMax(status, epoch) AS st, argMax(occurred_at, epoch) AS at,
            argMax(amount, epoch) AS charged, argMax(fee, epoch) AS fixed, argMax(plan, epoch) AS rated, argMax(plan_version, epoch) AS rated_version
        FROM {db}.records
        WHERE kind != 'adjustment' AND ((account_id, id) IN (SELECT account_id, message_id FROM due)
            OR (kind = 'status' AND (account_id, refers_to) IN (SELECT account_id, message_id FROM due)))
        GROUP BY account_id, kind, id, refers_to),
    by_message AS (
        SELECT account_id, if(what = 'status', refers_to, id) AS message_id,
            countIf(what = 'usage') AS stored, countIf(what = 'refund') AS refunded,
            maxIf(charged, what = 'usage') AS amount, maxIf(fixed, what = 'usage') AS fee,
            anyIf(rated, what = 'usage') AS plan, maxIf(rated_version, what = 'usage') AS plan_version,
            argMaxIf(st, (at, indexOf(['accepted', 'queued', 'sent', 'undelivered', 'failed', 'delivered', 'read'], st), if(what = 'usage', '', id)), what != 'refund' AND st != '') AS latest,
            argMaxIf(at, (at, indexOf(['accepted', 'queued', 'sent', 'undelivered', 'failed', 'delivered', 'read'], st), if(what = 'usage', '', id)), what != 'refund' AND st != '') AS latest_at
        FROM rows GROUP BY account_id, message_id)
SELECT due.account_id, due.message_id, due.version, m.stored, m.refunded, m.amount, m.fee, m.plan, m.plan_version, m.latest, m.latest_at
FROM due LEFT JOIN by_message AS m ON m.account_id = due.account_id AND m.message_id = due.message_id
ORDER BY due.account_id, due.message_id
