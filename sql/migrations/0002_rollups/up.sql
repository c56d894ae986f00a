-- 0002_rollups: sums of settled hours, so that usage needn't read their rows.

-- usage_hourly: what an account's rows of one hour of UTC sum up to, in lines of
-- a quarter of an hour each: those make up the local hours, days and months of
-- every zone, a sub-account's own too. One row is the whole of an hour, so the
-- newest generation replaces it as a whole, lines that are gone included.
CREATE TABLE IF NOT EXISTS usage_hourly
(
    account_id LowCardinality(String),
    hour       DateTime('UTC') CODEC(Delta, ZSTD(1)),
    generation UInt64 CODEC(Delta, ZSTD(1)),       -- microseconds of when its roll began; the newest stands
    lines      Array(Tuple(
        slot         DateTime('UTC'),              -- start of the quarter of an hour
        parent_id    LowCardinality(String),
        period       LowCardinality(String),
        booked       LowCardinality(String),
        channel      LowCardinality(String),
        direction    LowCardinality(String),
        country      LowCardinality(String),
        network      LowCardinality(String),
        category     LowCardinality(String),
        unit         LowCardinality(String),
        currency     LowCardinality(String),
        purse        LowCardinality(String),
        plan         LowCardinality(String),
        plan_version UInt32,
        rule         UInt32,
        records      UInt64,                       -- of kind usage, as units to fees are
        units        Decimal(38, 6),
        billed_units Decimal(38, 6),
        amount       Decimal(38, 6),
        refunds      Decimal(38, 6),
        fees         Decimal(38, 6),
        adjustments  Decimal(38, 6))) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(generation)
PARTITION BY toYYYYMM(hour)
ORDER BY (account_id, hour)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1
;
-- What was marked of late is asked for every second.
ALTER TABLE dirty_hours ADD INDEX IF NOT EXISTS marked marked_at TYPE minmax GRANULARITY 1
