-- closing_bases: where sums over rows of some parents may begin: what their purses held at the end of the newest closed month.
-- Params: parents. Result: parent_id, that month ("": none), balances (JSON), the newest month that takes no more records.
-- Dedup: newest version.
SELECT parent_id, maxIf(period, state = 'closed'), argMaxIf(balances, period, state = 'closed'), max(period)
FROM {db}.closings FINAL WHERE parent_id IN {parents:Array(String)} GROUP BY parent_id
