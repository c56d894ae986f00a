-- migrated: notes a migration that was applied. Again is harmless.
-- Params: name. Dedup: ReplacingMergeTree, one row of a name.
INSERT INTO {db}.migrations SELECT {name:String}, now64(3)
