-- report_accounts: a parent's accounts as they stood at an instant; those applied later, as they were first applied.
-- Params: parent, as_of (ms). Result: id, doc. Dedup: newest number of an id up to the instant.
SELECT id, if(countIf(then) > 0, argMaxIf(doc, number, then), argMin(doc, number)) AS document
FROM (
    SELECT id, doc, number, applied_at <= fromUnixTimestamp64Milli({as_of:Int64}) AS then
    FROM {db}.catalog WHERE kind = 'account' AND (id = {parent:String} OR parent_id = {parent:String})
)
GROUP BY id ORDER BY id
