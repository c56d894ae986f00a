-- 0018_refund_waits: refunds that wait for their message, and no others. Who looked
-- for those whose message has come read waiting, which keeps what is done for a month.

-- refund_waits: sign 1: it waits since then; -1: it was brought back, or given up. A
-- pair vanishes when parts are merged, so that nothing is kept of what is done. It is
-- written before waiting, which tells reports who waited when: an insert that was cut
-- off between the two only has a refund brought back that nobody counted.
CREATE TABLE IF NOT EXISTS refund_waits
(
    account_id LowCardinality(String),
    refers_to  String,
    id         String,
    since      DateTime64(3, 'UTC'),
    raw        String CODEC(ZSTD(1)),
    run        String,
    sign       Int8
)
ENGINE = CollapsingMergeTree(sign) ORDER BY (account_id, refers_to, id, since)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_age_to_force_merge_seconds = 120
;
-- noted: it stands in refund_waits already. The view is for workers of the version before.
ALTER TABLE waiting ADD COLUMN IF NOT EXISTS noted UInt8 DEFAULT 0
;
CREATE MATERIALIZED VIEW IF NOT EXISTS refund_waits_of_waiting TO {db}.refund_waits AS
SELECT account_id, refers_to, id, since, raw, run, if(state = 'waiting', toInt8(1), toInt8(-1)) AS sign
FROM {db}.waiting WHERE noted = 0
;
-- What came before the view, last: a row twice is brought back once more.
INSERT INTO {db}.refund_waits SELECT account_id, refers_to, id, since, raw, run, 1 FROM {db}.waiting FINAL WHERE state = 'waiting'
;
-- Nothing waits for a month: what still says so was cut off, or lost its newer row first.
ALTER TABLE waiting MODIFY TTL changed_at + INTERVAL 30 DAY
