-- retention_numbers: whether rows or settled quarantine entries before an instant still hold numbers.
-- Params: before (ms). Result: rows, entries (0 or 1 each: enough to know).
SELECT (SELECT count() FROM (SELECT 1 FROM {db}.records
        WHERE occurred_at < fromUnixTimestamp64Milli({before:Int64}) AND (recipient != '' OR sender != '') LIMIT 1)),
    (SELECT count() FROM (SELECT 1 FROM {db}.quarantine
        WHERE quarantined_at < fromUnixTimestamp64Milli({before:Int64}) AND state != 'open' AND raw != '' LIMIT 1))
