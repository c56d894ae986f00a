-- clear.lua: a step of a rebuild that removes what the projection before held.
-- KEYS 1 {pNN}:meta  2 {pNN}:lease:rebuild  3, … what is removed; meta first, which ends the projection
-- ARGV 1 lease's token  2 number of partitions
-- RETURN {"ok", settled} | {"lost"} the lease is another's, or over
--      settled "1": the projection that meta ended has lost nothing and left nothing open,
--      no row of one before it could land any more, and other partitions hold none of its
--      parents' charges, for there were as many; else "0"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {'lost'} end
local settled = '0'
if KEYS[3] == KEYS[1] then
  local m = redis.call('HMGET', KEYS[1], 'openn', 'replid', 'landing', 'parts')
  local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  if m[1] == '0' and m[2] == replid and tonumber(m[3] or '0') <= NOW and m[4] == ARGV[2] then settled = '1' end
end
redis.call('UNLINK', unpack(KEYS, 3))
return {'ok', settled}
