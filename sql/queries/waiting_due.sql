-- waiting_due: refunds whose message has come, or that have waited too long, the oldest first.
-- Params: before (ms): older ones are due anyway. Result: account_id, refers_to, id, raw, run, since, come (1: it has).
-- Dedup: newest version of (account_id, refers_to, id).
WITH waits AS (SELECT account_id, refers_to, id FROM {db}.waiting GROUP BY account_id, refers_to, id HAVING argMax(state, version) = 'waiting')
SELECT account_id, refers_to, id, raw, run, since,
    (account_id, refers_to) IN (SELECT account_id, id FROM {db}.records WHERE kind = 'usage'
        AND (account_id, id) IN (SELECT account_id, refers_to FROM waits)) AS come
FROM {db}.waiting FINAL
WHERE (account_id, refers_to, id) IN (SELECT account_id, refers_to, id FROM waits)
  AND state = 'waiting' AND (come OR since < fromUnixTimestamp64Milli({before:Int64}))
ORDER BY since LIMIT 10000
