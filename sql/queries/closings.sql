-- closings: months that are closed or being closed. Params: parent ("": any). Dedup: newest version.
SELECT parent_id, period, state, records, amount, refunds, adjustments, digest, as_of, starts_at, ends_at,
    lines, catalog, epoch, seq, balances, frozen
FROM {db}.closings FINAL WHERE {parent:String} = '' OR parent_id = {parent:String} ORDER BY parent_id, period
