-- states_latest: the newest flags of a parent's accounts. Params: parent. Dedup: newest epoch.
SELECT account_id, argMax(flags, epoch), max(epoch) FROM {db}.states WHERE parent_id = {parent:String} GROUP BY account_id
