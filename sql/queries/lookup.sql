-- lookup: content of identities. Params: accounts, ids (arrays, each of all
-- identities: what they don't ask for may come too).
-- Result: account_id, kind, id, content_hash. Dedup: newest epoch.
SELECT account_id, toString(kind) AS kind_name, id, argMax(content_hash, epoch) AS hash
FROM {db}.records
WHERE account_id IN {accounts:Array(String)} AND id IN {ids:Array(String)}
GROUP BY account_id, kind, id
