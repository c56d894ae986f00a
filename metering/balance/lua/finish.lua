-- finish.lua: the task is done: a late copy of it is acked without effect, and
-- its outcome is counted, once, for whoever waits for its run.
-- KEYS 1 {pNN}:meta  2 {pNN}:t:<task>
-- ARGV 1 epoch  2 task  3 run ("": nobody waits)  4 stored  5 duplicates  6 quarantined  7 waiting
--      8 expected seq of the marker ("": none was charged)
-- RETURN {"ok"} | {"open!"} | {"gone"} another attempt's answer stands | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local t = redis.call('HMGET', KEYS[2], 'k', 's')
if t[1] == 'd' then return {'ok'} end
if t[1] == 'o' then return {'open!'} end
if t[1] == 'm' and t[2] ~= ARGV[8] then return {'gone'} end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'k', 'd')
redis.call('EXPIRE', KEYS[2], 86400)
if ARGV[3] ~= '' then
  local run = TAG .. ':run:' .. ARGV[3]
  local names = {'stored', 'duplicates', 'quarantined', 'waiting'}
  for i, name in ipairs(names) do
    if ARGV[3 + i] ~= '0' then redis.call('HINCRBY', run, name, ARGV[3 + i]) end
  end
  redis.call('EXPIRE', run, 604800)
end
return {'ok'}
