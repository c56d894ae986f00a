-- seq_max: the newest seq of a projection epoch in the ledger. Params: epoch.
SELECT greatest(
    (SELECT max(seq) FROM {db}.records WHERE epoch = {epoch:UInt32}),
    (SELECT max(seq) FROM {db}.transfers WHERE epoch = {epoch:UInt32}))
