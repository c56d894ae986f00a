-- 0005_rerates: re-ratings that were booked, one row for each reference. Their
-- adjustments are rows of records that name it as their source_id.
CREATE TABLE IF NOT EXISTS rerates
(
    ref        String,
    parent_id  LowCardinality(String),
    account_id String,                             -- "": all of the parent's
    period     LowCardinality(String),
    plan       LowCardinality(String),
    reason     String,
    actor      String,
    booked_at  DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(booked_at) ORDER BY ref
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
