-- states_latest: the newest flags of some parents' accounts. Params: parents. Dedup: newest epoch.
SELECT account_id, argMax(flags, epoch), max(epoch) FROM {db}.states WHERE parent_id IN {parents:Array(String)} GROUP BY account_id
