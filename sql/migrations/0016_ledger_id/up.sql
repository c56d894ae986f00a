-- 0016_ledger_id: what tells one ledger from another, so that no projection is used with one that it isn't of.
CREATE TABLE IF NOT EXISTS ledger_id (id String)
ENGINE = MergeTree ORDER BY id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
INSERT INTO {db}.ledger_id SELECT toString(generateUUIDv4()) WHERE (SELECT count() FROM {db}.ledger_id) = 0
