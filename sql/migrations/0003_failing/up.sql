-- 0003_failing: messages with a status that their plan may refund. Filled by
-- every insert of records; a repeated insert only has the message looked at
-- again. No amount comes from here.
CREATE TABLE IF NOT EXISTS failing
(
    account_id LowCardinality(String),
    message_id String,
    done       Bool,
    version    UInt64                              -- microseconds
)
ENGINE = ReplacingMergeTree(version) ORDER BY (account_id, message_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE MATERIALIZED VIEW IF NOT EXISTS failing_of_records TO {db}.failing AS
SELECT account_id, if(kind = 'status', refers_to, id) AS message_id, false AS done, toUInt64(toUnixTimestamp64Micro(now64(6))) AS version
FROM {db}.records
WHERE kind IN ('usage', 'status') AND status NOT IN ('', 'accepted', 'queued', 'sent', 'delivered', 'read', 'received')
