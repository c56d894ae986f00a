-- push.lua: the live values of accounts, fenced by catalog number. A new
-- account starts at 0, silently. One that had been pushed and isn't held was lost: who
-- knows what else, so the projection ends, and is made anew.
-- KEYS 1 {pNN}:meta
-- ARGV 1 epoch  2 raise the partition's catalog number to this (0: leave)
--      3 accounts as JSON: [{id, par, mode, src, lim, ceil, alerts, obs, ch, pr, closed, cat, first}]
--      4 parents, then for each: id and three months (name, start, end)
-- RETURN {"ok"} | {"clock"} | {"void"} an account was lost | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local month, at = {}, 4
for i = 1, tonumber(ARGV[4]) do
  local name, finish = current(at + 2)
  if not name then return {'clock'} end
  month[ARGV[at + 1]] = {name = name, finish = finish}
  at = at + 10
end
local list = cjson.decode(ARGV[3])
local fresh, listed = {}, {}
for _, d in ipairs(list) do
  listed[d.id] = true
  local lost
  if not account(d.id) and tonumber(d.first or d.cat) <= tonumber(m.catalog) then lost = d.id end
  if d.par ~= '' and not listed[d.par] and not account(d.par) then lost = d.par end
  if lost then
    redis.call('HSET', KEYS[1], 'lost', lost, 'replid', '') -- no Redis has that one: every script refuses
    return {'void'}
  end
end
for _, d in ipairs(list) do
  local a = account(d.id)
  if not a or a.cat == '' or tonumber(d.cat) >= tonumber(a.cat) then
    if not a or a.cat == '' then fresh[d.id] = true end
    redis.call('HSET', akey(d.id), 'par', d.par, 'mode', d.mode, 'src', d.src, 'lim', d.lim, 'ceil', d.ceil,
      'alerts', d.alerts, 'obs', d.obs, 'ch', d.ch, 'pr', d.pr, 'closed', d.closed, 'cat', d.cat)
    cache[d.id] = nil
  end
end
for _, d in ipairs(list) do
  local a = account(d.id)
  local mo = month[a.par == '' and a.id or a.par]
  evaluate(a, mo.name, mo.finish, 'applied', fresh[d.id] or a.quiet == '1')
  redis.call('SPUBLISH', TAG .. ':state', d.id)
end
if tonumber(ARGV[2]) > tonumber(m.catalog) then redis.call('HSET', KEYS[1], 'catalog', ARGV[2]) end
return {'ok'}
