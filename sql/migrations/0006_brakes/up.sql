-- 0006_brakes: suspensions that don't take effect.
ALTER TABLE states ADD COLUMN IF NOT EXISTS held_back UInt16 -- flags that hold without effect
;
-- breakers: when the breaker of a partition opened and was released; the newest stands.
CREATE TABLE IF NOT EXISTS breakers
(
    partition  UInt16,
    open       Bool,
    account_id String,                             -- whose suspension opened it
    actor      String,                             -- who released it
    note       String,
    changed_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree ORDER BY (partition, changed_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
