-- 0015_refund_looks: what is undecided, by when it is looked at. It takes the place
-- of undecided, of which every look read all, due or not.

-- refund_looks: reasons to look whether a message is refunded, until that is
-- decided: each failing status, and each message that came more than an hour
-- after it occurred, for statuses may have waited for it in vain; and of a message
-- that was looked at too soon, when it is looked at again. sign 1: it came; -1: it
-- was looked at. A pair vanishes when parts are merged, so that nothing is kept of
-- what is decided. A repeated insert only has the message looked at again. No
-- amount comes from here.
CREATE TABLE IF NOT EXISTS refund_looks
(
    again      UInt8,                              -- 0: not looked at yet; 1: looked at
    due        DateTime64(3, 'UTC'),               -- 0: when the status or the message occurred; 1: when it is looked at
    parent_id  LowCardinality(String),
    account_id LowCardinality(String),
    message_id String,
    arrived    DateTime64(3, 'UTC'),               -- the last of what is known of the message
    sign       Int8
)
ENGINE = CollapsingMergeTree(sign) ORDER BY (again, due, parent_id, account_id, message_id, arrived)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_age_to_force_merge_seconds = 120
;
CREATE MATERIALIZED VIEW IF NOT EXISTS refund_looks_of_records TO {db}.refund_looks AS
SELECT toUInt8(0) AS again, occurred_at AS due, parent_id, account_id, if(kind = 'status', refers_to, id) AS message_id, stored_at AS arrived, toInt8(1) AS sign
FROM {db}.records
WHERE kind IN ('usage', 'status') AND (status NOT IN ('', 'accepted', 'queued', 'sent', 'delivered', 'read', 'received')
    OR (kind = 'usage' AND stored_at > occurred_at + INTERVAL 1 HOUR))
;
-- What came before the view, last: a row twice is looked at once more.
INSERT INTO {db}.refund_looks SELECT 0, u.at, if(a.parent = '', u.account_id, a.parent), u.account_id, u.message_id, u.arrived, 1
FROM (SELECT * FROM {db}.undecided FINAL WHERE sign = 1) AS u
LEFT JOIN (SELECT id, any(parent_id) AS parent FROM {db}.catalog WHERE kind = 'account' GROUP BY id) AS a ON a.id = u.account_id
;
-- undecided stays, empty, for workers of the version before.
DROP VIEW IF EXISTS undecided_of_records
;
TRUNCATE TABLE IF EXISTS undecided
