-- quarantine_page: where a page of entries ends. Params: after (id; '' from the beginning), limit.
-- Result: last (id), rows (copies that aren't merged yet count). Dedup: none.
SELECT max(id), count() FROM (SELECT id FROM {db}.quarantine WHERE id > {after:String} ORDER BY id LIMIT {limit:UInt64})
