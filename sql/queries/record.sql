-- record: a message's rows: itself, its refunds, its statuses, its adjustments. Params: account, id. Dedup: FINAL.
SELECT toString(kind) AS kind_name, id, occurred_at, channel, toString(direction) AS direction_name, status, error_code, recipient, sender, country, network,
    category, units, unit, billed_units, amount, fee, currency, plan, plan_version, rule, toString(purse) AS purse_name,
    refers_to, source_id, tags, period, booked, epoch, seq, stored_at
FROM {db}.records FINAL
WHERE account_id = {account:String} AND (id = {id:String} OR (kind IN ('status', 'adjustment') AND refers_to = {id:String}))
ORDER BY kind, occurred_at, id
