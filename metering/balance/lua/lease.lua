-- lease.lua: a lease, of whoever knows its token.
-- KEYS 1 {pNN}:meta  2 {pNN}:lease:<name>
-- ARGV 1 token  2 how long it lasts without a sign, ms  3 "take" | "keep", unless it is over | "give" back
-- RETURN {"ok"} | {"lost"} it is another's, or over
local held = redis.call('GET', KEYS[2])
if held and held ~= ARGV[1] or not held and ARGV[3] ~= 'take' then return {'lost'} end
if ARGV[3] == 'give' then redis.call('DEL', KEYS[2]) else redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) end
return {'ok'}
