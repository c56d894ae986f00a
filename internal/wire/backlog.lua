-- backlog.lua: whether records may be in a queue for longer than a moment.
-- KEYS 1 asynq:{queue}:pending  2 asynq:{queue}:retry  3 asynq:{queue}:lease  4 asynq:{queue}:active
--      5 asynq:{queue}:scheduled
-- ARGV 1 prefix of the queue's task keys  2 how long a task may have been pending, ms by Redis's clock
--      3 how many ids to return at most of each list  4… the ids that the look before returned
-- RETURN {1 or 0, ids of tasks that were pending or worked on}. 1: a task waits to be tried again, or for its
--        first try within a minute, has been pending for longer, its worker died, or it was there at the look before and is worked on still
local function waits()
  if redis.call('ZCARD', KEYS[2]) > 0 then return 1 end
  local now = redis.call('TIME')
  if redis.call('ZCOUNT', KEYS[5], '-inf', now[1] + 60) > 0 then return 1 end -- set aside, or to be judged
  if redis.call('ZCOUNT', KEYS[3], '-inf', '(' .. now[1]) > 0 then return 1 end
  local oldest = redis.call('LINDEX', KEYS[1], -1)
  if not oldest then return 0 end
  local since = redis.call('HGET', ARGV[1] .. oldest, 'pending_since') -- nanoseconds; none: it was taken back
  if not since or (now[1] * 1000 + math.floor(now[2] / 1000)) - since / 1000000 > tonumber(ARGV[2]) then return 1 end
  return 0
end
local busy = waits()
local ids = redis.call('LRANGE', KEYS[4], -ARGV[3], -1)
local active = {}
for _, id in ipairs(ids) do active[id] = true end
for i = 4, #ARGV do
  if active[ARGV[i]] then busy = 1 end
end
for _, id in ipairs(redis.call('LRANGE', KEYS[1], -ARGV[3], -1)) do ids[#ids + 1] = id end
return {busy, ids}
