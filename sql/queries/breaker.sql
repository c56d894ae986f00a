-- breaker: a partition's newest change of its breaker. Params: partition. Dedup: newest.
SELECT open, account_id, actor, note, changed_at FROM {db}.breakers WHERE partition = {partition:UInt16} ORDER BY changed_at DESC LIMIT 1
