-- 0011_undecided: what automatic refunds are decided by. A table of what is
-- still undecided takes the place of failing, which kept every message for ever.

-- statuses: the statuses of each message, for look-ups by message. Filled by
-- every insert of records.
CREATE TABLE IF NOT EXISTS statuses
(
    account_id  LowCardinality(String),
    message_id  String CODEC(ZSTD(1)),
    id          String CODEC(ZSTD(1)),
    status      LowCardinality(String),
    occurred_at DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    epoch       UInt32 CODEC(ZSTD(1)),
    stored_at   DateTime64(3, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(epoch) ORDER BY (account_id, message_id, id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1
;
CREATE MATERIALIZED VIEW IF NOT EXISTS statuses_of_records TO {db}.statuses AS
SELECT account_id, refers_to AS message_id, id, status, occurred_at, epoch, stored_at
FROM {db}.records WHERE kind = 'status'
;
-- undecided: reasons to look whether a message is refunded, until that is
-- decided: each failing status, and each message that came more than an hour
-- after it occurred, for statuses may have waited for it in vain. sign 1: it
-- came; -1: it was looked at for the last time. A pair vanishes when parts are
-- merged, so that nothing is kept of what is decided. A repeated insert only has
-- the message looked at again. No amount comes from here.
CREATE TABLE IF NOT EXISTS undecided
(
    account_id LowCardinality(String),
    message_id String,
    at         DateTime64(3, 'UTC'),               -- of the status, or of the message
    arrived    DateTime64(3, 'UTC'),
    sign       Int8
)
ENGINE = CollapsingMergeTree(sign) ORDER BY (account_id, message_id, at, arrived)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_age_to_force_merge_seconds = 120
;
CREATE MATERIALIZED VIEW IF NOT EXISTS undecided_of_records TO {db}.undecided AS
SELECT account_id, if(kind = 'status', refers_to, id) AS message_id, occurred_at AS at, stored_at AS arrived, toInt8(1) AS sign
FROM {db}.records
WHERE kind IN ('usage', 'status') AND (status NOT IN ('', 'accepted', 'queued', 'sent', 'delivered', 'read', 'received')
    OR (kind = 'usage' AND stored_at > occurred_at + INTERVAL 1 HOUR))
;
-- What came before the views, last: a row twice is one, and is looked at once more.
INSERT INTO {db}.statuses SELECT account_id, refers_to, id, status, occurred_at, epoch, stored_at FROM {db}.records WHERE kind = 'status'
;
INSERT INTO {db}.undecided SELECT account_id, message_id, toDateTime64(0, 3, 'UTC'), fromUnixTimestamp64Micro(toInt64(version)), 1
FROM {db}.failing FINAL WHERE NOT done
;
-- failing stays, empty, for workers of the version before.
DROP VIEW IF EXISTS failing_of_records
;
TRUNCATE TABLE IF EXISTS failing
;
-- waiting: refunds that have found their message, or were given up, go after a month.
ALTER TABLE waiting ADD COLUMN IF NOT EXISTS changed_at DateTime('UTC') DEFAULT now()
;
ALTER TABLE waiting MODIFY SETTING min_age_to_force_merge_seconds = 3600
;
ALTER TABLE waiting MODIFY TTL changed_at + INTERVAL 30 DAY DELETE WHERE state = 'done'
