-- adopt.lua: takes a restarted Redis for the same projection; the caller has
-- made sure that no answered write can be lost (docs/protocol.md, Epochs and rebuilds).
-- KEYS 1 {pNN}:meta
-- ARGV 1 epoch  2 replid that meta holds  3 replid that Redis has
-- RETURN {"ok"} | {"moved"}
local v = redis.call('HMGET', KEYS[1], 'epoch', 'replid')
if v[1] ~= ARGV[1] or v[2] ~= ARGV[2] then return {'moved'} end
if string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') ~= ARGV[3] then return {'moved'} end
redis.call('HSET', KEYS[1], 'replid', ARGV[3])
return {'ok'}
