-- waiting_due: refunds whose message has come, or that have waited too long.
-- Params: since (ms): older ones are due anyway. Dedup: newest version of (account_id, refers_to, id).
SELECT account_id, refers_to, id, raw, run, since,
    (account_id, refers_to) IN (SELECT account_id, id FROM {db}.records WHERE kind = 'usage'
        AND (account_id, id) IN (SELECT account_id, refers_to FROM {db}.waiting FINAL WHERE state = 'waiting')) AS come
FROM {db}.waiting FINAL
WHERE state = 'waiting' AND (come OR since < fromUnixTimestamp64Milli({before:Int64}))
ORDER BY since LIMIT 10000
