-- 0017_noted: what automatic refunds are decided by is written before its rows. A view
-- fills its table after them: an insert that was cut off between the two, and whose
-- task a new projection then found stored, had no statuses, and no refunds, for good.

-- noted: its status and its reason to look stand already. The views are for workers of
-- the version before.
ALTER TABLE records ADD COLUMN IF NOT EXISTS noted UInt8 DEFAULT 0
;
ALTER TABLE statuses_of_records MODIFY QUERY
SELECT account_id, refers_to AS message_id, id, status, occurred_at, epoch, stored_at
FROM {db}.records WHERE kind = 'status' AND noted = 0
;
ALTER TABLE refund_looks_of_records MODIFY QUERY
SELECT toUInt8(0) AS again, occurred_at AS due, parent_id, account_id, if(kind = 'status', refers_to, id) AS message_id, stored_at AS arrived, toInt8(1) AS sign
FROM {db}.records
WHERE kind IN ('usage', 'status') AND noted = 0 AND (status NOT IN ('', 'accepted', 'queued', 'sent', 'delivered', 'read', 'received')
    OR (kind = 'usage' AND stored_at > occurred_at + INTERVAL 1 HOUR))
