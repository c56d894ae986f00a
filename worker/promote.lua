-- promote.lua: brings a task that waits to the head of its queue.
-- KEYS 1 asynq:{queue}:pending  2 asynq:{queue}:retry  3 asynq:{queue}:t:<id>
-- ARGV 1 id
-- RETURN 1 moved, 0 it doesn't wait here
local state = redis.call('HGET', KEYS[3], 'state')
if state == 'pending' then
  if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 0 end
elseif state == 'retry' then
  if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
  redis.call('HSET', KEYS[3], 'state', 'pending')
else
  return 0
end
redis.call('RPUSH', KEYS[1], ARGV[1])
return 1
