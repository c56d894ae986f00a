-- deliveries_latest: the newest epoch told to the hooks of a parent's accounts. Params: accounts.
SELECT account_id, max(epoch) FROM {db}.deliveries WHERE account_id IN {accounts:Array(String)} AND event != 'alert' AND outcome != 'failed' GROUP BY account_id
