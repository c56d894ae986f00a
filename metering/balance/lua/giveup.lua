-- giveup.lua: an answer without a task, that nobody has asked for in ten minutes, is
-- given up: its charge stands, reconcile heals it, and a copy sent again is charged
-- by the no-row rule.
-- KEYS 1 {pNN}:meta  2 {pNN}:t:<task>
-- ARGV 1 epoch  2 task  3 seq  4 least age, ms
-- RETURN {"ok"} | {"gone"} not open under this seq, or asked for since | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local t = redis.call('HMGET', KEYS[2], 'k', 's', 'c', 'at')
if t[1] ~= 'o' or t[2] ~= ARGV[3] or NOW - tonumber(t[4] or '0') < tonumber(ARGV[4]) then return {'gone'} end
redis.call('DEL', KEYS[2])
redis.call('ZREM', TAG .. ':open', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'openn', neg(t[3] or '0'))
return {'ok'}
