-- closing_finish: the closed month's row, once: a row that is closed already stands.
-- Params: as the columns; amounts as decimal texts, times in ms. Dedup: newest version.
INSERT INTO {db}.closings (parent_id, period, state, records, amount, refunds, adjustments, digest, as_of, version,
    starts_at, ends_at, lines, catalog, epoch, seq, balances, frozen)
SELECT {parent:String}, {period:String}, 'closed', {records:UInt64}, toDecimal128({amount:String}, 6), toDecimal128({refunds:String}, 6),
    toDecimal128({adjustments:String}, 6), {digest:String}, fromUnixTimestamp64Milli({as_of:Int64}), 2,
    fromUnixTimestamp64Milli({start:Int64}), fromUnixTimestamp64Milli({end:Int64}), {lines:UInt64}, {catalog:UInt64},
    {epoch:UInt32}, {seq:UInt64}, {balances:String}, {frozen:String}
WHERE (SELECT count() FROM {db}.closings WHERE parent_id = {parent:String} AND period = {period:String} AND state = 'closed') = 0
