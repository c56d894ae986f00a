-- finish.lua: the task is done: a late copy of it is acked without effect, and
-- its outcome is counted, once, for whoever waits for its run. Duplicates are
-- counted by the task, if it judged them, or else by its judge task: one that
-- was made by an attempt that then died finds that the task has counted.
-- KEYS 1 {pNN}:meta  2 {pNN}:t:<task>  3 of a judge task: {pNN}:t:<task whose duplicates it judges>
-- ARGV 1 epoch  2 task  3 run ("": nobody waits)  4 stored  5 duplicates  6 quarantined  7 waiting
--      8 expected seq of the marker ("": none was charged)
--      9 judged to be duplicates  10 judged to be conflicts  11 "1": handed over to its judge task
--      12.. of the quarantined of 6: reason, how many
-- RETURN {"ok"} | {"still_open"} | {"gone"} another attempt's answer stands | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local t = redis.call('HMGET', KEYS[2], 'k', 's', 'j')
if not t[1] and done(ARGV[2]) then return {'ok'} end
if t[1] == 'o' then return {'still_open'} end
if t[1] == 'm' and t[2] ~= ARGV[8] then return {'gone'} end
local void = false
if KEYS[3] then
  local k = redis.call('HGET', KEYS[3], 'k')
  if not k then void = done(string.sub(KEYS[3], #TAG + 4)) == 'd' end
  if k == 'm' then redis.call('HSET', KEYS[3], 'j', '1') end
end
redis.call('DEL', KEYS[2])
finished(ARGV[2], ARGV[11] == '1' and not void and 'h' or 'd')
if ARGV[3] ~= '' and not void then
  local run = TAG .. ':run:' .. ARGV[3]
  local names = {'stored', 'duplicates', 'quarantined', 'waiting'}
  for i, name in ipairs(names) do
    if ARGV[3 + i] ~= '0' then redis.call('HINCRBY', run, name, ARGV[3 + i]) end
  end
  if ARGV[11] ~= '1' and not t[3] then
    if ARGV[9] ~= '0' then redis.call('HINCRBY', run, 'duplicates', ARGV[9]) end
    if ARGV[10] ~= '0' then
      redis.call('HINCRBY', run, 'quarantined', ARGV[10])
      redis.call('HINCRBY', run, 'quarantined:conflict', ARGV[10])
    end
  end
  for i = 12, #ARGV - 1, 2 do redis.call('HINCRBY', run, 'quarantined:' .. ARGV[i], ARGV[i + 1]) end
  redis.call('EXPIRE', run, 604800)
end
return {'ok'}
