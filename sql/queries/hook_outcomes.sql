-- hook_outcomes: what became of the last message about some accounts to each receiver.
-- Params: accounts. Result: destination, account_id, event, outcome, attempts, when.
-- Dedup: the newest row.
SELECT destination, argMax(account_id, delivered_at), argMax(event, delivered_at), argMax(outcome, delivered_at), argMax(attempts, delivered_at),
    max(delivered_at)
FROM {db}.deliveries WHERE account_id IN {accounts:Array(String)} GROUP BY destination ORDER BY destination
