-- retention_rows: removes a partition's rows that go with a month or earlier ones ({goes}: see goes in the ledger). A message stays
-- together with its refunds, corrections and statuses, as long as one of them is in a bill that is kept: that bill is read
-- with all of them, and a refund of a message that stays keeps it from being refunded again. Again is harmless.
-- Params: through (YYYYMM), until (ms: a day after its end: a status may be dated that long before its message); {partition}: YYYYMM, no parameter.
-- Dedup: none needed, an identity's older row is booked no later.
ALTER TABLE {db}.records DELETE IN PARTITION {partition} WHERE
    {goes} <= {through:UInt32}
    AND (account_id, if(kind = 'usage', id, refers_to)) NOT IN (
        SELECT account_id, refers_to FROM {db}.records
        WHERE kind IN ('refund', 'adjustment')
          AND {goes} > {through:UInt32}
        UNION ALL
        SELECT account_id, id FROM {db}.records
        WHERE kind = 'usage'
          AND {goes} > {through:UInt32}
          AND (occurred_at < fromUnixTimestamp64Milli({until:Int64})
            OR (account_id, id) IN (
                SELECT account_id, refers_to FROM {db}.records
                WHERE kind IN ('refund', 'adjustment') AND toYYYYMM(occurred_at) <= {through:UInt32})))
SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1
