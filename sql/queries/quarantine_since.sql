-- quarantine_since: since when some entries are in quarantine, of those that are open or were replayed: what was
-- discarded or resolved begins anew. Params: ids (array). Result: id, quarantined_at. Dedup: newest version of an id.
SELECT id, quarantined_at FROM {db}.quarantine FINAL
WHERE id IN {ids:Array(String)} AND state IN ('open', 'replayed')
