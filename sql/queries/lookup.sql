-- lookup: content of identities. Params: accounts, kinds, ids (parallel arrays).
-- Result: account_id, kind, id, content_hash. Dedup: newest epoch.
SELECT account_id, toString(kind) AS kind_name, id, argMax(content_hash, epoch) AS hash
FROM {db}.records
WHERE (account_id, kind, id) IN (
    SELECT tupleElement(t, 1), CAST(tupleElement(t, 2) AS Enum8('usage' = 1, 'status' = 2, 'refund' = 3, 'adjustment' = 4)), tupleElement(t, 3)
    FROM (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {kinds:Array(String)}, {ids:Array(String)})) AS t)
)
GROUP BY account_id, kind, id
