-- lookup: content of identities, and the status that a message came with. Params: accounts, hashes (of accounts
-- and ids, as id_hash; arrays, each of all identities: what they don't ask for may come too).
-- Result: account_id, kind, id, content_hash, status, occurred_at. Dedup: newest epoch.
SELECT account_id, toString(kind) AS kind_name, id, argMax(content_hash, epoch) AS hash, argMax(status, epoch) AS first_status,
    argMax(occurred_at, epoch) AS at
FROM {db}.records
PREWHERE id_hash IN {hashes:Array(UInt64)}
WHERE account_id IN {accounts:Array(String)}
GROUP BY account_id, kind, id
