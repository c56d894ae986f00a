-- 0001_core: the ledger's tables. Every statement may run again.
-- Statements are separated by a line that holds only ";". Every table writes
-- through to the disk (a setting of tables, not of inserts).

-- catalog: accounts and plans as JSON documents, one row for each version.
-- The newest number of an id stands.
CREATE TABLE IF NOT EXISTS catalog
(
    kind       LowCardinality(String),            -- account | plan
    id         String,
    number     UInt64,                            -- of the apply that made this version
    parent_id  String,
    doc        String CODEC(ZSTD(1)),
    applied_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree ORDER BY (kind, id, number)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
-- records: one row for each identity (account_id, kind, id). Of two rows of an
-- identity the one of the newest projection epoch stands.
CREATE TABLE IF NOT EXISTS records
(
    account_id   LowCardinality(String),
    kind         Enum8('usage' = 1, 'status' = 2, 'refund' = 3, 'adjustment' = 4),
    id           String CODEC(ZSTD(1)),            -- a refund's is the id of its message
    occurred_at  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    parent_id    LowCardinality(String),
    channel      LowCardinality(String),
    direction    Enum8('outbound' = 1, 'inbound' = 2),
    status       LowCardinality(String),           -- the record's own; status rows may follow
    error_code   LowCardinality(String),
    recipient    String CODEC(ZSTD(1)),
    sender       LowCardinality(String),
    country      LowCardinality(String),
    network      LowCardinality(String),
    category     LowCardinality(String),
    units        Decimal(18, 6) CODEC(ZSTD(1)),    -- as reported
    unit         LowCardinality(String),
    billed_units Decimal(18, 6) CODEC(ZSTD(1)),
    amount       Decimal(18, 6) CODEC(ZSTD(1)),    -- charged with the fee; a refund's is what it gives back
    fee          Decimal(18, 6) CODEC(ZSTD(1)),
    currency     LowCardinality(String),
    plan         LowCardinality(String),           -- empty: came rated
    plan_version UInt32 CODEC(ZSTD(1)),
    rule         UInt32 CODEC(ZSTD(1)),
    purse        Enum8('credit' = 0, 'wallet' = 1, 'budget' = 2),
    refers_to    String CODEC(ZSTD(1)),
    source_id    String CODEC(ZSTD(1)),            -- a refund's own id
    tags         Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    content_hash UInt64 CODEC(NONE),
    period       LowCardinality(String),           -- of occurred_at
    booked       LowCardinality(String),           -- the period whose bill it is in
    epoch        UInt32 CODEC(ZSTD(1)),
    seq          UInt64 CODEC(Delta, ZSTD(1)),
    stored_at    DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(epoch)
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (account_id, kind, id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1
;
-- dirty_hours: (account, hour) pairs whose rollup is due, written with their rows.
CREATE TABLE IF NOT EXISTS dirty_hours
(
    account_id LowCardinality(String),
    hour       DateTime('UTC'),                    -- start of the local hour
    marked_at  DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(marked_at) ORDER BY (account_id, hour)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
-- quarantine: what couldn't be charged. The newest version of an id stands.
CREATE TABLE IF NOT EXISTS quarantine
(
    id             String,                         -- hash of account, kind and raw bytes
    reason         LowCardinality(String),
    account_id     String,
    kind           LowCardinality(String),
    record_id      String,                         -- identity id, empty where it can't be read
    content_hash   UInt64,
    detail         String,
    raw            String CODEC(ZSTD(3)),
    quarantined_at DateTime64(3, 'UTC'),
    state          LowCardinality(String),         -- open | replayed | resolved | discarded
    note           String,
    version        UInt64                          -- microseconds of the change
)
ENGINE = ReplacingMergeTree(version) ORDER BY id
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1
;
-- waiting: refunds whose message hasn't come. state waiting | done.
CREATE TABLE IF NOT EXISTS waiting
(
    account_id LowCardinality(String),
    refers_to  String,
    id         String,
    raw        String CODEC(ZSTD(1)),
    run        String,
    since      DateTime64(3, 'UTC'),
    state      LowCardinality(String),
    version    UInt64
)
ENGINE = ReplacingMergeTree(version) ORDER BY (account_id, refers_to, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
-- transfers: money moved by hand, double entry: the lines of a ref sum to zero.
CREATE TABLE IF NOT EXISTS transfers
(
    ref            String,
    line           UInt8,
    kind           LowCardinality(String),         -- topup | allocate | reclaim | adjust | sweep | close
    parent_id      LowCardinality(String),
    account_id     String,                         -- whose purse; empty: the world outside
    purse          LowCardinality(String),         -- external | wallet | budget
    amount         Decimal(18, 6),                 -- signed
    currency       LowCardinality(String),
    reason         String,
    actor          String,
    content_hash   UInt64,
    booked         LowCardinality(String),
    transferred_at DateTime64(3, 'UTC'),
    epoch          UInt32,
    seq            UInt64
)
ENGINE = ReplacingMergeTree(epoch) ORDER BY (ref, line)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
-- states: every change of an account's own flags.
CREATE TABLE IF NOT EXISTS states
(
    account_id  String,
    epoch       UInt64,                            -- the account's
    parent_id   String,
    flags       UInt16,
    cause       LowCardinality(String),
    period      LowCardinality(String),
    actor       String,
    note        String,
    occurred_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree ORDER BY (account_id, epoch)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
-- deliveries: hooks that were told, so that an epoch is told once.
CREATE TABLE IF NOT EXISTS deliveries
(
    account_id   String,
    event        LowCardinality(String),           -- suspend | resume | alert
    epoch        UInt64,
    destination  String,                           -- host of the hook, never its path
    outcome      LowCardinality(String),           -- delivered | failed | none
    attempts     UInt16,
    delivered_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(delivered_at) ORDER BY (account_id, event, epoch, destination)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
-- epochs: projection epochs, always rising.
CREATE TABLE IF NOT EXISTS epochs
(
    partition  UInt16,
    epoch      UInt32,
    reason     LowCardinality(String),
    started_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree ORDER BY (partition, epoch)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
-- findings: drifts and other things that should never be; zero is normal.
CREATE TABLE IF NOT EXISTS findings
(
    found_at   DateTime64(3, 'UTC'),
    kind       LowCardinality(String),
    account_id String,
    field      String,
    expected   String,
    actual     String,
    healed     Bool
)
ENGINE = MergeTree ORDER BY found_at
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
-- closings: months being closed and closed; the newest version stands.
CREATE TABLE IF NOT EXISTS closings
(
    parent_id   LowCardinality(String),
    period      LowCardinality(String),
    state       LowCardinality(String),            -- closing | closed
    records     UInt64,
    amount      Decimal(18, 6),
    refunds     Decimal(18, 6),
    adjustments Decimal(18, 6),
    digest      String,
    as_of       DateTime64(3, 'UTC'),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version) ORDER BY (parent_id, period)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
-- report_runs: every report that was due or asked for; the newest version stands.
CREATE TABLE IF NOT EXISTS report_runs
(
    run          String,
    parent_id    LowCardinality(String),
    name         String,
    audience     String,
    period       LowCardinality(String),
    redacted     Bool,
    formats      Array(LowCardinality(String)),
    destinations Array(String),
    due_at       DateTime64(3, 'UTC'),
    state        LowCardinality(String),           -- pending | running | delivered | failed
    detail       String,
    files        String,
    version      UInt64
)
ENGINE = ReplacingMergeTree(version) ORDER BY run
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
