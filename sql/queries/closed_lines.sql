-- closed_lines: the lines that a closed month's digest covers, of one account.
-- Params: parent, period, account. Result: line. Dedup: DISTINCT.
SELECT DISTINCT line FROM {db}.closed_lines
WHERE parent_id = {parent:String} AND period = {period:String} AND account_id = {account:String}
