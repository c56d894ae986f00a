-- backlog.lua: whether records may be in a queue for longer than a moment.
-- KEYS 1 asynq:{queue}:pending  2 asynq:{queue}:retry  3 asynq:{queue}:lease
-- ARGV 1 prefix of the queue's task keys  2 how long a task may have been pending, ms by Redis's clock
-- RETURN 1: a task waits to be tried again, has been pending for longer, or its worker died; else 0
if redis.call('ZCARD', KEYS[2]) > 0 then return 1 end
local now = redis.call('TIME')
if redis.call('ZCOUNT', KEYS[3], '-inf', '(' .. now[1]) > 0 then return 1 end
local oldest = redis.call('LINDEX', KEYS[1], -1)
if not oldest then return 0 end
local since = redis.call('HGET', ARGV[1] .. oldest, 'pending_since') -- nanoseconds; none: it was taken back
if not since or (now[1] * 1000 + math.floor(now[2] / 1000)) - since / 1000000 > tonumber(ARGV[2]) then return 1 end
return 0
