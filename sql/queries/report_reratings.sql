-- report_reratings: what each re-rating booked in a parent's bill, by its reference and the month of the messages.
-- Params: parent, booked. Result: ref, reason, period, accounts, messages, amount. Dedup: FINAL.
SELECT b.ref, w.reason, b.occurred_in, b.accounts, b.messages, b.booked_sum
FROM
(
    SELECT substring(r.id, 1, length(r.id) - length(r.refers_to) - 1) AS ref, r.period AS occurred_in,
        uniqExact(r.account_id) AS accounts, count() AS messages, sum(toDecimal128(r.amount, 6)) AS booked_sum
    FROM {db}.records AS r FINAL
    WHERE r.account_id IN {family} AND r.parent_id = {parent:String} AND r.booked = {booked:String} AND r.kind = 'adjustment' AND r.refers_to != ''
    GROUP BY ref, occurred_in
) AS b
LEFT JOIN (SELECT ref, reason FROM {db}.rerates FINAL WHERE parent_id = {parent:String}) AS w ON w.ref = b.ref
ORDER BY b.ref, b.occurred_in
