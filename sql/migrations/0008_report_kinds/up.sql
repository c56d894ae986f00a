-- 0008_report_kinds: what kind of report a run is: statement, messages or wallet.
ALTER TABLE report_runs ADD COLUMN IF NOT EXISTS kind LowCardinality(String) DEFAULT 'statement'
;
-- alerts: shares of a limit that were passed, one row for each alert that was raised.
CREATE TABLE IF NOT EXISTS alerts
(
    account_id String,
    limit_kind LowCardinality(String),             -- wallet | budget | credit | monthly_limit
    mark       String,                             -- of the transfer or the month that it is raised once for
    share      UInt16,                             -- percent
    epoch      UInt32,                             -- of the projection that raised it
    parent_id  String,
    period     LowCardinality(String),
    raised_at  DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree ORDER BY (account_id, limit_kind, mark, share, epoch)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
