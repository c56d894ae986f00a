-- charge_lines: the lines of a parent's bill of one month, summed where quantity × unit price can be told exactly.
-- A refund of the whole of its message's charge takes the message's billed units along.
-- Params: parent, booked, zone (of the days), tags (keys whose values are told apart),
-- minimums (plan/version/rule → the rule's minimum in micro-units, where it has one).
-- Result: account, day, period, kind, channel, direction, country, network, category, unit, currency, purse, plan,
-- plan_version, rule, tags' values, fee of each message (micro-units), priced at the minimum, whole refund,
-- reference of its re-rating;
-- messages, units, billed_units, amount (a refund's is what it gives back). Sorted by all that is told apart.
-- Dedup: FINAL, the newest epoch of an identity.
SELECT account, toString(day), occurred_in, kind_name, sent_by, way, land, net, class, unit_name, money, drew_on, plan_id, version, rule_number,
    tag_values, each_fee, least, whole, booked_by,
    count() AS messages, sum(reported) AS units_sum, sum(billed) AS billed_sum, sum(charged) AS amount_sum
FROM (
    SELECT r.account_id AS account, toDate32(r.occurred_at, {zone:String}) AS day, r.period AS occurred_in, toString(r.kind) AS kind_name,
        r.channel AS sent_by, toString(r.direction) AS way, r.country AS land, r.network AS net, r.category AS class,
        if(r.kind = 'refund', m.unit_name, r.unit) AS unit_name, r.currency AS money, toString(r.purse) AS drew_on,
        r.plan AS plan_id, r.plan_version AS version, r.rule AS rule_number,
        arrayMap(k -> r.tags[k], {tags:Array(String)}) AS tag_values,
        if(r.kind = 'usage', toInt64(toDecimal128(r.fee, 6) * 1000000), 0) AS each_fee,
        {minimums:Map(String, Int64)}[concat(r.plan, '/', toString(r.plan_version), '/', toString(r.rule))] AS minimum,
        minimum > 0 AND r.kind != 'adjustment'
            AND toInt64(toDecimal128(if(r.kind = 'usage', r.amount - r.fee, r.amount), 6) * 1000000) = minimum AS least,
        r.kind = 'refund' AND m.message != '' AND r.amount = m.refundable AS whole,
        if(r.kind = 'adjustment' AND r.refers_to != '', substring(r.id, 1, length(r.id) - length(r.refers_to) - 1), '') AS booked_by,
        if(r.kind = 'refund', m.units_reported, r.units) AS reported, if(r.kind = 'refund', m.units_billed, r.billed_units) AS billed,
        r.amount AS charged
    FROM {db}.records AS r FINAL
    LEFT JOIN (
        SELECT account_id AS owner, id AS message, unit AS unit_name, units AS units_reported, billed_units AS units_billed, amount - fee AS refundable
        FROM {db}.records FINAL
        WHERE kind = 'usage' AND account_id IN {family} AND parent_id = {parent:String} AND (account_id, id) IN (
            SELECT account_id, id FROM {db}.records WHERE kind = 'refund' AND account_id IN {family} AND parent_id = {parent:String} AND booked = {booked:String})
    ) AS m ON r.kind = 'refund' AND m.owner = r.account_id AND m.message = r.id
    WHERE r.account_id IN {family} AND r.parent_id = {parent:String} AND r.booked = {booked:String} AND r.kind IN ('usage', 'refund', 'adjustment')
)
GROUP BY account, day, occurred_in, kind_name, sent_by, way, land, net, class, unit_name, money, drew_on, plan_id, version, rule_number,
    tag_values, each_fee, least, whole, booked_by
ORDER BY account, day, occurred_in, kind_name, sent_by, way, land, net, class, unit_name, money, drew_on, plan_id, version, rule_number,
    tag_values, each_fee, least, whole, booked_by
