-- delivered_refunds: messages that were refunded automatically and delivered all the same, and aren't findings yet.
-- Params: from (ms of occurred_at). Result: account_id, message. Dedup: none needed, a message once.
SELECT DISTINCT account_id, refers_to FROM {db}.records
WHERE kind = 'status' AND status IN ('delivered', 'read') AND occurred_at >= fromUnixTimestamp64Milli({from:Int64})
  AND (account_id, refers_to) IN (
    SELECT account_id, id FROM {db}.records
    WHERE kind = 'refund' AND startsWith(source_id, 'auto:') AND occurred_at >= fromUnixTimestamp64Milli({from:Int64}))
  AND (account_id, refers_to) NOT IN (SELECT account_id, field FROM {db}.findings WHERE kind = 'delivered_after_refund')
ORDER BY account_id, refers_to LIMIT 10000
