-- breaker.lua: how many accounts of the partition may be suspended within a
-- minute before the breaker holds further ones back.
-- KEYS 1 {pNN}:meta
-- ARGV 1 epoch  2 accounts (0: any number)
-- RETURN {"ok"} | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
if m.brkmax ~= ARGV[2] then redis.call('HSET', KEYS[1], 'brkmax', ARGV[2]) end
return {'ok'}
