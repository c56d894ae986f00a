-- drop_copies: removes the rows of identities in one month of UTC that are booked in a month, for each has another that stands. Waits until it
-- is done; again is harmless.
-- Params: parent, booked, month (YYYYMM), accounts, kinds, ids (parallel arrays). Dedup: all versions of such a row go.
DELETE FROM {db}.records
WHERE parent_id = {parent:String} AND booked = {booked:String} AND toYYYYMM(occurred_at) = {month:UInt32} AND account_id IN {accounts:Array(String)}
  AND has(arrayZip({accounts:Array(String)}, {kinds:Array(String)}, {ids:Array(String)}), (toString(account_id), toString(kind), id))
