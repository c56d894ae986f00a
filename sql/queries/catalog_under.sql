-- catalog_under: the documents that were stored under one number.
-- Params: number. Result: kind, id, parent_id, doc. Dedup: none, for two of one id are told apart.
SELECT kind, id, parent_id, doc
FROM {db}.catalog
WHERE number = {number:UInt64}
