-- closed_counts: how many rows each parent's months have that could be lines of a bill, up to a month.
-- It reads two narrow columns. Dedup: none, copies that aren't merged yet count: a figure that differs from
-- what a closing fixed says only that the month is to be looked at.
-- Params: through. Result: parent_id, booked, rows.
SELECT parent_id, booked, count() FROM {db}.records
WHERE booked <= {through:String} AND kind IN ('usage', 'refund', 'adjustment')
GROUP BY parent_id, booked
