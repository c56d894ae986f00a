-- rebook: books rows that landed in a closed month in an open one: each is replaced by itself, under no older an
-- epoch and seq 0, so that every sum of that epoch has it. Again is harmless: what is booked elsewhere isn't found.
-- Params: parent, booked, to, epoch, accounts, kinds, ids (parallel arrays). Dedup: FINAL, the newest epoch of an identity.
INSERT INTO {db}.records (account_id, kind, id, occurred_at, parent_id, channel, direction, status, error_code,
    recipient, sender, country, network, category, units, unit, billed_units, amount, fee, currency, plan, plan_version,
    rule, purse, refers_to, source_id, tags, content_hash, period, booked, epoch, seq, stored_at, noted)
SELECT account_id, kind, id, occurred_at, parent_id, channel, direction, status, error_code,
    recipient, sender, country, network, category, units, unit, billed_units, amount, fee, currency, plan, plan_version,
    rule, purse, refers_to, source_id, tags, content_hash, period, {to:String},
    greatest(epoch, {epoch:UInt32}), 0, now64(3), 1
FROM {db}.records FINAL
WHERE parent_id = {parent:String} AND booked = {booked:String} AND account_id IN {accounts:Array(String)}
  AND (account_id, toString(kind), id) IN (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {kinds:Array(String)}, {ids:Array(String)})))
