-- retention_statuses: removes statuses of a month of UTC and earlier ones, once retention_rows has removed the rows:
-- those of messages that stay, stay. Again is harmless.
-- Params: through (YYYYMM), until (ms: a day after its end: a status may be dated that long before its message). Dedup: none needed.
ALTER TABLE {db}.statuses DELETE WHERE
    toYYYYMM(occurred_at) <= {through:UInt32}
    AND (account_id, message_id) NOT IN (
        SELECT account_id, id FROM {db}.records WHERE kind = 'usage' AND occurred_at < fromUnixTimestamp64Milli({until:Int64}))
SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1
