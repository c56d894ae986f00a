-- lookup: content of identities, and the status that a message came with. Params: accounts, ids (arrays, each of all
-- identities: what they don't ask for may come too).
-- Result: account_id, kind, id, content_hash, status, occurred_at. Dedup: newest epoch.
SELECT account_id, toString(kind) AS kind_name, id, argMax(content_hash, epoch) AS hash, argMax(status, epoch) AS first_status,
    argMax(occurred_at, epoch) AS at
FROM {db}.records
WHERE account_id IN {accounts:Array(String)} AND id IN {ids:Array(String)}
GROUP BY account_id, kind, id
