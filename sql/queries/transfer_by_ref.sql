-- transfer_by_ref: parent and content of a reference. Params: ref. Dedup: newest epoch.
SELECT any(parent_id), any(content_hash) FROM {db}.transfers WHERE ref = {ref:String} HAVING count() > 0
