-- transfers: movements of an account's purse, oldest first, with whose purse is the
-- other side ('': the world outside). Params: account. Dedup: FINAL.
SELECT t.ref, t.kind, t.parent_id, t.account_id, t.purse, t.amount, t.currency, t.reason, t.actor, t.booked, t.transferred_at,
    other.account_id, t.balance_after, t.invoiced
FROM (SELECT * FROM {db}.transfers FINAL WHERE account_id = {account:String}) AS t
LEFT JOIN
(
    SELECT ref, toUInt8(1 - line) AS line, account_id FROM {db}.transfers FINAL
    WHERE ref IN (SELECT ref FROM {db}.transfers WHERE account_id = {account:String})
) AS other ON other.ref = t.ref AND other.line = t.line
ORDER BY t.transferred_at, t.seq, t.ref
