-- beat.lua: notes that a worker lives, and forgets those that have been silent for long.
-- KEYS 1 meterd:workers, a hash: worker → Redis's time, ms, and what it says of itself
-- ARGV 1 worker  2 what it says, JSON  3 ms after which a silent one is forgotten
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %s', now, ARGV[2]))
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if tonumber(string.match(all[i + 1], '^%d+') or 0) < now - tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], all[i]) end
end
return now
