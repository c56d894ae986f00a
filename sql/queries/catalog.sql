-- catalog: the newest document of every account and plan.
-- Result: kind, doc, number, number of its first. Dedup: newest number of (kind, id).
SELECT kind, argMax(doc, number) AS document, max(number) AS newest, min(number) AS first
FROM {db}.catalog
GROUP BY kind, id
ORDER BY kind, id
