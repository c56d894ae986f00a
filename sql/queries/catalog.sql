-- catalog: the newest document of every account and plan.
-- Result: kind, doc, number. Dedup: newest number of (kind, id).
SELECT kind, argMax(doc, number) AS document, max(number) AS newest
FROM {db}.catalog
GROUP BY kind, id
ORDER BY kind, id
