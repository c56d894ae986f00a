-- copies: the rows of identities of a parent, one for each month of UTC in which an identity lies. The first of an
-- identity stands, the others are to be removed as far as their month isn't closed: what is booked first, of one month
-- the newest epoch's, of one epoch the first charged.
-- Params: parent, accounts, kinds, ids (parallel arrays). Result: account_id, kind, id, booked, month (YYYYMM).
-- Dedup: FINAL within each month of UTC.
SELECT account_id, toString(kind) AS kind_name, id, booked, toYYYYMM(occurred_at) AS month
FROM {db}.records FINAL
WHERE parent_id = {parent:String} AND account_id IN {accounts:Array(String)}
  AND (account_id, toString(kind), id) IN (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {kinds:Array(String)}, {ids:Array(String)})))
ORDER BY account_id, kind_name, id, booked, epoch DESC, seq, occurred_at
