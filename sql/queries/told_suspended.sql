-- told_suspended: accounts of which a receiver was last told that they are suspended. Params: accounts. Result: account_id.
-- Dedup: newest epoch.
SELECT DISTINCT account_id FROM (
    SELECT account_id, destination, argMax(event, epoch) AS last FROM {db}.deliveries
    WHERE account_id IN {accounts:Array(String)} AND event IN ('suspend', 'resume') AND outcome = 'delivered'
    GROUP BY account_id, destination
)
WHERE last = 'suspend' ORDER BY account_id
