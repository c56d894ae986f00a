-- entries_known: which of some quarantine entries there are, whatever became of them.
-- Params: ids (array). Result: id. Dedup: DISTINCT.
SELECT DISTINCT id FROM {db}.quarantine WHERE id IN {ids:Array(String)}
