-- usage_accounts: a parent and its sub-accounts, as applied. Params: parent. Result: id. Dedup: DISTINCT.
SELECT DISTINCT id FROM {db}.catalog
WHERE kind = 'account' AND (id = {parent:String} OR parent_id = {parent:String}) ORDER BY id
