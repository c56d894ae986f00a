-- load.lua: a step of a rebuild that writes accounts and used references.
-- KEYS 1 {pNN}:meta  2 {pNN}:lease:rebuild  3.. {pNN}:a:<account> or {pNN}:r:<reference>
-- ARGV 1 lease's token, then for each of them: how many names and values, seconds to live (0: for good), and those
--      of its fields
-- RETURN {"ok"} | {"lost"} the lease is another's, or a projection stands
if redis.call('GET', KEYS[2]) ~= ARGV[1] or redis.call('HGET', KEYS[1], 'epoch') then return {'lost'} end
local at, key = 2, 3 -- a cluster's call names one key more
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  redis.call('HSET', KEYS[key], unpack(ARGV, at + 2, at + 1 + n))
  if ARGV[at + 1] ~= '0' then redis.call('EXPIRE', KEYS[key], ARGV[at + 1]) end
  at, key = at + 2 + n, key + 1
end
return {'ok'}
