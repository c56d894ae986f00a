-- report_accounts: a parent's accounts as they stood at a catalog number; those applied later, as they were first applied.
-- Params: parent, number. Result: id, doc. Dedup: newest number of an id up to that one.
SELECT id, if(countIf(then) > 0, argMaxIf(doc, number, then), argMin(doc, number)) AS document
FROM (
    SELECT id, doc, number, number <= {number:UInt64} AS then
    FROM {db}.catalog WHERE kind = 'account' AND (id = {parent:String} OR parent_id = {parent:String})
)
GROUP BY id ORDER BY id
