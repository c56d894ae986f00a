-- told_suspended: accounts of some parents of which a receiver was last told that they are suspended.
-- Params: parents. Result: account_id.
-- Dedup: newest epoch.
SELECT DISTINCT account_id FROM (
    SELECT account_id, destination, argMax(event, epoch) AS last FROM {db}.deliveries
    WHERE account_id IN {families}
      AND event IN ('suspend', 'resume') AND outcome = 'delivered'
    GROUP BY account_id, destination
)
WHERE last = 'suspend' ORDER BY account_id
