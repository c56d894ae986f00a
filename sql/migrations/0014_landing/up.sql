-- 0014_landing: what tells whether a charge of before a rebuild may be on its way.
-- rerate_runs: each run of a re-rating's command. While one hasn't ended, its
-- corrections may be on their way, and no projection knows of those that Redis lost.
CREATE TABLE IF NOT EXISTS rerate_runs
(
    parent_id LowCardinality(String),
    run       String,
    ref       String,
    begun_at  DateTime64(3, 'UTC'),
    ended     UInt8                                -- 1: all its corrections are stored
)
ENGINE = ReplacingMergeTree(ended) ORDER BY (parent_id, run)
TTL toDateTime(begun_at) + INTERVAL 30 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
ALTER TABLE epochs ADD COLUMN IF NOT EXISTS partitions UInt16 -- how many there were, 0: unknown
