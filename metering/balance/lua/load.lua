-- load.lua: a step of a rebuild that writes an account or a used reference.
-- KEYS 1 {pNN}:meta  2 {pNN}:lease:rebuild  3 {pNN}:a:<account> or {pNN}:r:<reference>
-- ARGV 1 lease's token, then name and value of each field
-- RETURN {"ok"} | {"lost"} the lease is another's, or a projection stands
if redis.call('GET', KEYS[2]) ~= ARGV[1] or redis.call('HGET', KEYS[1], 'epoch') then return {'lost'} end
redis.call('HSET', KEYS[3], unpack(ARGV, 2))
return {'ok'}
