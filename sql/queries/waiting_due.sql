-- waiting_due: refunds whose message has come, or that have waited too long, the oldest first.
-- Params: before (ms): what waits only since earlier is due anyway. Result: account_id, refers_to, id, raw, run, since,
-- come (1: it has). Dedup: FINAL: what collapses is left out; one that came again waits from then on.
WITH waits AS (SELECT account_id, refers_to, id, raw, run, since, max(since) OVER (PARTITION BY account_id, refers_to, id) AS latest
    FROM {db}.refund_waits FINAL WHERE sign = 1)
SELECT account_id, refers_to, id, raw, run, since,
    (account_id, refers_to) IN (SELECT account_id, id FROM {db}.records WHERE kind = 'usage'
        AND (account_id, id) IN (SELECT account_id, refers_to FROM waits)) AS come
FROM waits
WHERE come OR latest < fromUnixTimestamp64Milli({before:Int64})
ORDER BY since LIMIT 10000
