-- 0007_closed_lines: which lines a closed month's digest covers, so that a row
-- that lands in the month afterwards is known from them.
CREATE TABLE IF NOT EXISTS closed_lines
(
    parent_id  LowCardinality(String),
    period     LowCardinality(String),
    account_id LowCardinality(String),
    line       UInt64 CODEC(Delta, ZSTD(1))        -- hash of a line (metering.BillLine.Hash)
)
ENGINE = ReplacingMergeTree ORDER BY (parent_id, period, account_id, line)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
