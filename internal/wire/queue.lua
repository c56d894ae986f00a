-- queue.lua: how many tasks a queue has in each state, and how old the oldest is.
-- asynq forgets when a task was enqueued once somebody takes it, and keeps those that wait for their next try
-- by when that is: so tasks that were taken are followed here, from when they are first seen, until they end.
-- KEYS 1 asynq:{queue}:pending  2 asynq:{queue}:active  3 asynq:{queue}:scheduled  4 asynq:{queue}:retry
--      5 asynq:{queue}:meterd:seen, a set of the ids that are followed by when they were first seen, ms
-- ARGV 1 prefix of the queue's task keys  2 how many tasks are followed at most
--      3 how many of those that have been pending for longest are asked for their age
-- RETURN {pending, active, scheduled, retry, age of the oldest in ms by Redis's clock or 0}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest = now
local most = tonumber(ARGV[2])

local ended = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[5], 0, -1)) do
  local state = redis.call('HGET', ARGV[1] .. id, 'state')
  if not state or state == 'archived' or state == 'completed' then ended[#ended + 1] = id end
end
for _, id in ipairs(ended) do redis.call('ZREM', KEYS[5], id) end

local room = most - redis.call('ZCARD', KEYS[5])
local function follow(ids)
  for _, id in ipairs(ids) do
    if room <= 0 then return end
    -- A Redis without memory to spare takes no more of them: the figures are told all the same.
    local added = redis.pcall('ZADD', KEYS[5], 'NX', now, id)
    if type(added) == 'table' then room = 0 else room = room - added end
  end
end
follow(redis.call('ZRANGE', KEYS[4], 0, most - 1))
follow(redis.call('ZRANGE', KEYS[3], 0, most - 1))
follow(redis.call('LRANGE', KEYS[2], -most, -1))
local back = {} -- pending again, without a time: their worker died, or they were brought back
for _, id in ipairs(redis.call('LRANGE', KEYS[1], -ARGV[3], -1)) do
  local since = redis.call('HGET', ARGV[1] .. id, 'pending_since') -- nanoseconds
  if since then oldest = math.min(oldest, math.floor(since / 1000000)) else back[#back + 1] = id end
end
follow(back)
local first = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
if first[2] then oldest = math.min(oldest, tonumber(first[2])) end
return {redis.call('LLEN', KEYS[1]), redis.call('LLEN', KEYS[2]), redis.call('ZCARD', KEYS[3]), redis.call('ZCARD', KEYS[4]), now - oldest}
