-- rules_used: the rules that the lines of a parent's bill of one month were rated by. Params: parent, booked.
-- Result: plan, plan_version, rule. Dedup: none needed.
SELECT DISTINCT plan, plan_version, rule FROM {db}.records
WHERE account_id IN {family} AND parent_id = {parent:String} AND booked = {booked:String} AND plan != ''
ORDER BY plan, plan_version, rule
