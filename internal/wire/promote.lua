-- promote.lua: brings tasks that wait to the head of their queue, in their order.
-- KEYS 1 asynq:{queue}:pending  2 asynq:{queue}:retry
-- ARGV 1 prefix of the queue's task keys, then ids; some may be of other queues
-- RETURN number of tasks moved
local n = 0
for i = #ARGV, 2, -1 do
  local id, there = ARGV[i], 0
  local state = redis.call('HGET', ARGV[1] .. id, 'state')
  if state == 'pending' then
    there = redis.call('LREM', KEYS[1], -1, id)
  elseif state == 'retry' then
    there = redis.call('ZREM', KEYS[2], id)
    if there == 1 then redis.call('HSET', ARGV[1] .. id, 'state', 'pending') end
  end
  if there == 1 then
    redis.call('RPUSH', KEYS[1], id)
    n = n + 1
  end
end
return n
