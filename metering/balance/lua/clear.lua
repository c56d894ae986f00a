-- clear.lua: a step of a rebuild that removes what the projection before held.
-- KEYS 1 {pNN}:meta  2 {pNN}:lease:rebuild  3, … what is removed; meta first, which ends the projection
-- ARGV 1 lease's token
-- RETURN {"ok"} | {"lost"} the lease is another's, or over
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {'lost'} end
redis.call('UNLINK', unpack(KEYS, 3))
return {'ok'}
