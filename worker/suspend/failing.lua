-- failing.lua: notes that a receiver's newest try failed, or that it didn't, and forgets those that nobody has tried for long.
-- KEYS 1 meterd:{failing}:at, a sorted set: receiver → Redis's time of the try, ms  2 meterd:{failing}:what, a hash: receiver → what is known of it
-- ARGV 1 receiver  2 what is known of it, JSON; '' if it takes what it is told  3 ms after which one is forgotten
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[2] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]), 'LIMIT', 0, 100)
for _, who in ipairs(old) do
  redis.call('ZREM', KEYS[1], who)
  redis.call('HDEL', KEYS[2], who)
end
return #old
