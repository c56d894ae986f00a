-- hook_outcomes: what became of the last message of each event about some accounts to each receiver.
-- Params: accounts. Result: destination, event, account_id, outcome, attempts, when.
-- Dedup: the newest row.
SELECT destination, event, argMax(account_id, delivered_at), argMax(outcome, delivered_at), argMax(attempts, delivered_at), max(delivered_at)
FROM {db}.deliveries WHERE account_id IN {accounts:Array(String)} GROUP BY destination, event ORDER BY destination, event
