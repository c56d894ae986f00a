-- rebook_hours: marks the hours of rows of a month or later ones that are about to be rebooked or removed, by a mark dated after the insert's own
-- bound: no roll from before that counts, wherever the rebooking is cut off.
-- Params: parent, booked, ahead (s), accounts, kinds, ids (parallel arrays). Dedup: none, a mark more is harmless.
INSERT INTO {db}.dirty_hours (account_id, hour, marked_at)
SELECT DISTINCT account_id, toStartOfHour(occurred_at), now64(3) + toIntervalSecond({ahead:UInt32})
FROM {db}.records
WHERE parent_id = {parent:String} AND booked >= {booked:String} AND account_id IN {accounts:Array(String)}
  AND (account_id, toString(kind), id) IN (SELECT arrayJoin(arrayZip({accounts:Array(String)}, {kinds:Array(String)}, {ids:Array(String)})))
