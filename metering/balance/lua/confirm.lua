-- confirm.lua: the transfer's row is in the ledger; its answer closes.
-- KEYS 1 {pNN}:meta  2 {pNN}:t:transfer:<reference>  3 {pNN}:r:<reference>
-- ARGV 1 epoch in which it was applied  2 reference  3 seconds for which the reference stays known here
-- RETURN {"ok"} | guard's refusals ({"epoch"}: apply it again, it may be lost)
local m, refusal = guard(ARGV[1])
if not m then return refusal end
redis.call('DEL', KEYS[2])
redis.call('EXPIRE', KEYS[3], ARGV[3])
redis.call('ZREM', TAG .. ':open', 'transfer:' .. ARGV[2])
return {'ok'}
