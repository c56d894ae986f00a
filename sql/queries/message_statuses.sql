-- message_statuses: what decides whether messages are refunded: what of them is stored, and their statuses.
-- Params: accounts, ids (parallel arrays), hashes (of those, as id_hash). Result: one row for each
-- message, refund of one and status: account_id, message_id, what (usage, refund, status), id (of a status), status, at, stored_at,
-- and of a message its plan and version. Dedup: newest epoch.
WITH keys AS (SELECT tupleElement(t, 1), tupleElement(t, 2)
    FROM (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {ids:Array(String)})) AS t))
SELECT account_id, message_id, what, '' AS status_id, argMax(st, epoch) AS status, argMax(occurred, epoch) AS at, max(stored) AS stored_at,
    argMax(rated, epoch) AS plan, argMax(version, epoch) AS plan_version
FROM (SELECT account_id, id AS message_id, toString(kind) AS what, status AS st, occurred_at AS occurred, stored_at AS stored,
        plan AS rated, plan_version AS version, epoch
    FROM {db}.records PREWHERE id_hash IN {hashes:Array(UInt64)} WHERE kind IN ('usage', 'refund') AND (account_id, id) IN keys)
GROUP BY account_id, message_id, what
UNION ALL
SELECT account_id, message_id, 'status' AS what, id, argMax(st, epoch), argMax(occurred, epoch), max(stored), '', toUInt32(0)
FROM (SELECT account_id, message_id, id, status AS st, occurred_at AS occurred, stored_at AS stored, epoch
    FROM {db}.statuses WHERE (account_id, message_id) IN keys)
GROUP BY account_id, message_id, id
