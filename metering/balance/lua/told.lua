-- told.lua: a hook was told. An older epoch never takes the place of a newer.
-- KEYS 1 {pNN}:meta  2 {pNN}:hook:<whose>
-- ARGV 1 epoch  2 what it was told  3 its outcome, until the ledger has it ("": it isn't noted)  4 how long this is kept, s
-- RETURN {"ok"} | {"old"} it knows as much
local known = redis.call('HGET', KEYS[2], 'epoch')
if known and tonumber(known) >= tonumber(ARGV[1]) then return {'old'} end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'told', ARGV[2], 'row', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return {'ok'}
