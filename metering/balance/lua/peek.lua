-- peek.lua: what a task has come to; nothing changes.
-- KEYS 1 {pNN}:meta  2 {pNN}:t:<task>
-- RETURN {"o", seq, outcome, booked, rated} its answer is open  {"m", seq, outcome} settled
--        {"d"} finished  {"none", now}
local t = redis.call('HMGET', KEYS[2], 'k', 's', 'o', 'g', 'r')
if t[1] then return t end
if done(string.sub(KEYS[2], #TAG + 4)) then return {'d'} end
return {'none', int(NOW)}
