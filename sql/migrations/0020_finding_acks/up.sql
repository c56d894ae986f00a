-- 0020_finding_acks: who has looked at a finding, and what came of it.
CREATE TABLE IF NOT EXISTS finding_acks
(
    id       String,                               -- of the finding, as queries/findings.sql makes it
    actor    String,
    note     String,
    acked_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(acked_at) ORDER BY id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
