-- close.lua: a parent's month takes no more records: what comes later is booked
-- in the current one. Months close in order.
-- KEYS 1 {pNN}:meta
-- ARGV 1 epoch  2 parent  3 period
-- RETURN {"ok", seq} | {"accounts", id} | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local a = account(ARGV[2])
if not a then return {'accounts', ARGV[2]} end
if a.thr < ARGV[3] then set(a, 'thr', ARGV[3]) end
return {'ok', m.seq}
