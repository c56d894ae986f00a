-- copies: the rows of identities that a parent's month has, one for each month of UTC in which an identity lies.
-- The first of an identity stands, the others are to be removed: the newest epoch's, of one epoch the first charged.
-- Params: parent, booked, accounts, kinds, ids (parallel arrays). Result: account_id, kind, id, month (YYYYMM).
-- Dedup: FINAL within each month of UTC.
SELECT account_id, toString(kind) AS kind_name, id, toYYYYMM(occurred_at) AS month
FROM {db}.records FINAL
WHERE parent_id = {parent:String} AND booked = {booked:String} AND account_id IN {accounts:Array(String)}
  AND (account_id, toString(kind), id) IN (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {kinds:Array(String)}, {ids:Array(String)})))
ORDER BY account_id, kind_name, id, epoch DESC, seq, occurred_at
