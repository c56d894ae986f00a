-- install.lua: the last step of a rebuild: the projection may be used.
-- KEYS 1 {pNN}:meta  2 {pNN}:lease:rebuild
-- ARGV 1 lease's token  2 epoch  3 catalog number  4 dedup window, ms
--      5 dedup buckets  6 dedup key, hex  7 floor, ms after now ("": none)
--      8 since when the breaker is open, ms ("": it is closed)  9 number of partitions
--      10 how long rows of an older projection may still land, ms ("": they can't)
--      11 the ledger that it is made from ("": not known)
-- RETURN {"ok"} | {"lost"} the lease is another's, or a projection stands
if redis.call('GET', KEYS[2]) ~= ARGV[1] or redis.call('HGET', KEYS[1], 'epoch') then return {'lost'} end
local floor, landing = '0', '0'
if ARGV[7] ~= '' then floor = int(NOW + tonumber(ARGV[7])) end
if ARGV[10] ~= '' then landing = int(NOW + tonumber(ARGV[10])) end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'seq', '0', 'catalog', ARGV[3], 'floor', floor,
  'replid', string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)'),
  'gen', '0', 'genseq', '0', 'forced', '0', 'window', ARGV[4], 'buckets', ARGV[5], 'key', ARGV[6],
  'openn', '0', 'corr', '0', 'brk', ARGV[8], 'born', int(NOW), 'parts', ARGV[9],
  'landing', landing)
if ARGV[11] ~= '' then redis.call('HSET', KEYS[1], 'ledger', ARGV[11]) end
return {'ok'}
