-- read.lua: the projection of some accounts, and the seq at which it stood.
-- KEYS 1 {pNN}:meta
-- ARGV accounts
-- RETURN {"ok", epoch, seq, correction number, partitions (0: it doesn't say), {field, value, …} for each account (empty: not held)}
--        | guard's refusals
local m, refusal = guard(nil)
if not m then return refusal end
local out = {'ok', m.epoch, m.seq, m.corr, redis.call('HGET', KEYS[1], 'parts') or '0'}
for i = 1, #ARGV do out[#out + 1] = redis.call('HGETALL', akey(ARGV[i])) end
return out
