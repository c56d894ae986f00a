-- settle.lua: the answer's rows are in the ledger; it becomes a marker that
-- keeps its seq and its outcome. Records that ClickHouse refused for good are
-- reversed here, after they were quarantined.
-- KEYS 1 {pNN}:meta  2 {pNN}:t:<task>
-- ARGV 1 epoch  2 task  3 seq  4 reversed records  5 parents
--      parents: id, three months (name, start, end)
--      reversed: account, parent (from 1), purse's account ("": none), booked period, amount, line (from 0)
-- RETURN {"ok", outcome} | {"gone"} the answer isn't held under this seq | {"accounts", id}
--        | {"clock"} | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local t = redis.call('HMGET', KEYS[2], 'k', 's', 'o', 'c')
if t[1] == 'm' and t[2] == ARGV[3] then return {'ok', t[3]} end
if not t[1] and done(ARGV[2]) then return {'ok', ''} end
if t[1] ~= 'o' or t[2] ~= ARGV[3] then return {'gone'} end
local nrev, npar = tonumber(ARGV[4]), tonumber(ARGV[5])
local at, par = 5, {}
for i = 1, npar do
  local name, finish = current(at + 2)
  if not name then return {'clock'} end
  if not account(ARGV[at + 1]) then return {'accounts', ARGV[at + 1]} end
  par[i] = {a = account(ARGV[at + 1]), now = name, finish = finish}
  at = at + 10
end
local outcome = t[3]
local list = {}
for i = 1, nrev do
  local r = {a = account(ARGV[at + 1]), p = par[tonumber(ARGV[at + 2])], purse = ARGV[at + 3], period = ARGV[at + 4], sum = neg(ARGV[at + 5]), line = tonumber(ARGV[at + 6])}
  if not r.a then return {'accounts', ARGV[at + 1]} end
  if r.purse ~= '' and not account(r.purse) then return {'accounts', r.purse} end
  list[i] = r
  outcome = string.sub(outcome, 1, r.line) .. 'x' .. string.sub(outcome, r.line + 2)
  at = at + 6
end
for _, r in ipairs(list) do
  if r.sum ~= '0' then
    book(r.a, r.period, r.sum)
    if r.a ~= r.p.a then book(r.p.a, r.period, r.sum) end
    if r.purse ~= '' then book(account(r.purse), 'bal', neg(r.sum)) end
  end
end
if nrev > 0 then redis.call('HINCRBY', KEYS[1], 'corr', 1) end
redis.call('HDEL', KEYS[2], 'g', 'r')
redis.call('HSET', KEYS[2], 'k', 'm', 'o', outcome)
redis.call('ZREM', TAG .. ':open', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'openn', neg(t[4] or '0'))
for _, r in ipairs(list) do
  evaluate(r.a, r.p.now, r.p.finish, 'reversal')
  if r.purse ~= '' and r.purse ~= r.a.id then evaluate(account(r.purse), r.p.now, r.p.finish, 'reversal') end
  if r.a ~= r.p.a then evaluate(r.p.a, r.p.now, r.p.finish, 'reversal') end
end
return {'ok', outcome}
