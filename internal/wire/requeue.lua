-- requeue.lua: takes tasks back whose worker died, without waiting for asynq's
-- own recovery.
-- KEYS 1 asynq:{queue}:active  2 asynq:{queue}:lease  3 asynq:{queue}:pending
-- ARGV 1 prefix of the queue's task keys  2 take those whose lease has been over for so many seconds by Redis's clock, "" all
-- RETURN number of tasks taken back
local n = 0
local before = ARGV[2] ~= '' and redis.call('TIME')[1] - ARGV[2]
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local lease = redis.call('ZSCORE', KEYS[2], id)
  if not before or not lease or tonumber(lease) < before then
    redis.call('LREM', KEYS[1], 0, id)
    redis.call('ZREM', KEYS[2], id)
    if redis.call('EXISTS', ARGV[1] .. id) == 1 then
      redis.call('HSET', ARGV[1] .. id, 'state', 'pending')
      redis.call('RPUSH', KEYS[3], id)
      n = n + 1
    end
  end
end
return n
