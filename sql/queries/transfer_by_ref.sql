-- transfer_by_ref: parent and content of a reference, and when it was made. Params: ref. Dedup: newest epoch.
SELECT any(parent_id), any(content_hash), max(transferred_at) FROM {db}.transfers WHERE ref = {ref:String} HAVING count() > 0
