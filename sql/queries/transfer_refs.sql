-- transfer_refs: every reference of a parent, for a rebuild. Params: parent. Dedup: FINAL.
SELECT ref, any(content_hash), any(booked), any(transferred_at), max(abs(amount)), max(epoch), max(seq)
FROM {db}.transfers FINAL WHERE parent_id = {parent:String} GROUP BY ref
