-- delivered_refunds: messages that were refunded automatically and delivered all the same, or of which a status that came
-- too late says that they weren't due, and that aren't findings yet.
-- Params: from (ms): refunds stored since; failing (array): statuses that plans refund. Result: account_id, message, whether
-- it was delivered. Dedup: newest epoch.
WITH refunded AS (SELECT account_id, id AS message_id, max(occurred_at) AS refunded_at, max(stored_at) AS booked_at FROM {db}.records
        WHERE kind = 'refund' AND startsWith(source_id, 'auto:') AND stored_at >= fromUnixTimestamp64Milli({from:Int64})
          AND (account_id, id) NOT IN (SELECT account_id, field FROM {db}.findings WHERE kind IN ('delivered_after_refund', 'refund_not_due'))
        GROUP BY account_id, id),
    told AS (SELECT s.account_id AS account_id, s.message_id AS message_id, refunded_at FROM {db}.statuses AS s
        INNER JOIN refunded AS r ON r.account_id = s.account_id AND r.message_id = s.message_id
        WHERE (s.account_id, s.message_id) IN (SELECT account_id, message_id FROM refunded)
          AND (s.status IN ('delivered', 'read')
            OR (s.stored_at > booked_at AND s.occurred_at <= refunded_at AND s.status NOT IN {failing:Array(String)}))
        GROUP BY s.account_id, s.message_id, refunded_at),
    rows AS (
        SELECT account_id, message_id, id AS row_id, status AS st, occurred_at AS at, epoch FROM {db}.statuses
        WHERE (account_id, message_id) IN (SELECT account_id, message_id FROM told)
        UNION ALL
        SELECT account_id, id AS message_id, '' AS row_id, status AS st, occurred_at AS at, epoch FROM {db}.records
        WHERE kind = 'usage' AND status != '' AND (account_id, id) IN (SELECT account_id, message_id FROM told)),
    newest AS (SELECT account_id, message_id, row_id, argMax(st, epoch) AS was, argMax(at, epoch) AS was_at FROM rows GROUP BY account_id, message_id, row_id)
SELECT n.account_id, n.message_id, max(was IN ('delivered', 'read')) AS delivered
FROM newest AS n INNER JOIN told AS t ON t.account_id = n.account_id AND t.message_id = n.message_id
GROUP BY n.account_id, n.message_id
HAVING delivered OR argMaxIf(was, (was_at, indexOf({ranks}, was), row_id),
    was_at <= refunded_at) NOT IN {failing:Array(String)}
ORDER BY n.account_id, n.message_id LIMIT 10000
