-- recall.lua: brings tasks that wait for their next try back to their queue.
-- KEYS 1 asynq:{queue}:retry  2 asynq:{queue}:pending
-- ARGV 1 prefix of the queue's task keys  2 how many at most
-- RETURN number of tasks brought back
local ids = redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1)
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[1], id)
  if redis.call('EXISTS', ARGV[1] .. id) == 1 then
    redis.call('HSET', ARGV[1] .. id, 'state', 'pending')
    redis.call('LPUSH', KEYS[2], id)
  end
end
return #ids
