-- rerate_reasons: why a parent's re-ratings were made, by reference. Params: parent. Dedup: newest.
SELECT ref, reason FROM {db}.rerates FINAL WHERE parent_id = {parent:String}
