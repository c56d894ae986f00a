-- release.lua: suspensions that were held back take effect; the breaker closes, and
-- counts from nothing.
-- KEYS 1 {pNN}:meta
-- ARGV 1 epoch  2 "1": close the breaker  3..11 the parent's three months (name, start, end)  12.. accounts
-- RETURN {"ok"} | {"clock"} | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'brk', '')
  redis.call('DEL', suspendedKey(), LIFTED)
  return {'ok'}
end
local period, finish = current(3)
if not period then return {'clock'} end
for i = 12, #ARGV do
  local a = account(ARGV[i])
  if a and a.h ~= '0' then evaluate(a, period, finish, 'released') end
end
return {'ok'}
