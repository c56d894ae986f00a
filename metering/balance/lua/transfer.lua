-- transfer.lua: moves money between two purses, once for each reference.
-- KEYS 1 {pNN}:meta  2 {pNN}:r:<reference>
-- ARGV 1 epoch  2 reference  3 content hash  4 amount, micro-units, > 0
--      5 from account ("": outside)  6 to account ("": outside)
--      7 "1": refuse where from would fall below zero
--      8 "1": the whole of from's balance, either sign, instead of 4; its alerts begin from nothing
--      9 "1": to starts anew for its alerts (a top-up, an allocation)
--      10 the row, for the outbox  11.. the parent's three months (name, start, end)
-- RETURN {"ok"|"again", seq, booked, at, amount, from's balance, to's balance, epoch,
--         to's balance right after where 9 is set, from's balance right after, to's ("": not known)}
--        {"conflict"} the reference has other content  {"short", balance}  {"overflow"}
--        {"accounts", id…}  {"clock"} | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local from, to = ARGV[5] ~= '' and account(ARGV[5]), ARGV[6] ~= '' and account(ARGV[6])
local missing = {'accounts'}
if ARGV[5] ~= '' and not from then missing[#missing + 1] = ARGV[5] end
if ARGV[6] ~= '' and not to then missing[#missing + 1] = ARGV[6] end
if #missing > 1 then return missing end
local bals = {from and from.bal or '', to and to.bal or '', m.epoch}
local held = redis.call('HMGET', KEYS[2], 'hash', 'seq', 'booked', 'at', 'amount', 'epoch', 'base', 'from_after', 'to_after')
if held[1] then
  if held[1] ~= ARGV[3] then return {'conflict'} end
  return {'again', held[2], held[3], held[4], held[5], bals[1], bals[2], held[6], held[7] or '', held[8] or '', held[9] or ''}
end
local period, finish = current(11)
if not period then return {'clock'} end
local amount = ARGV[4]
local whole = ARGV[8] == '1'
if whole then amount = from.bal end
if ARGV[7] == '1' and not ge(from.bal, amount) then return {'short', from.bal} end
local far = tonumber(amount)
local fresh = ARGV[9] == '1'
local function beyond(a, n, moved)
  return a and (math.abs(tonumber(a.bal) + n) > RANGE or moved and a.base ~= '' and math.abs(tonumber(a.base) + n) > RANGE)
end
if beyond(from, -far, not whole) or beyond(to, far, not fresh) then return {'overflow'} end
local task = 'transfer:' .. ARGV[2]
local seq = take(m, task)
redis.call('HSET', TAG .. ':t:' .. task, 'k', 'o', 's', seq, 'c', 0, 'at', int(NOW))
redis.call('HSET', KEYS[2], 'hash', ARGV[3], 'seq', seq, 'booked', period, 'at', int(NOW), 'amount', amount, 'epoch', m.epoch)
-- What moves isn't used: the base of alerts goes along, so that base less balance
-- stays what was charged since it began.
local function move(a, by, moved)
  book(a, 'bal', by)
  if moved and a.base ~= '' then a.base = incr(a.key, 'base', by) end
end
local base = ''
if from then
  move(from, neg(amount), not whole)
  -- A budget that is swept is over: nothing is a share of it until the next allocation.
  if whole and from.base ~= '' then set(from, 'base', '0') end
end
if to then
  move(to, amount, not fresh)
  if fresh then
    base = to.bal
    redis.call('HSET', KEYS[2], 'base', base)
    set(to, 'base', base)
    to.tn = incr(to.key, 'tn', 1)
    set(to, 'as', '')
  end
end
local left, holds = from and from.bal or '', to and to.bal or ''
redis.call('HSET', KEYS[2], 'from_after', left, 'to_after', holds)
redis.call('XADD', TAG .. ':outbox', '*', 'k', 'transfer', 'e', m.epoch, 'row', ARGV[10], 'seq', seq, 'booked', period, 'at', int(NOW), 'amount', amount, 'base', base,
  'from', ARGV[5], 'to', ARGV[6], 'from_after', left, 'to_after', holds)
if from then evaluate(from, period, finish, 'transfer') end
if to then evaluate(to, period, finish, 'transfer') end
return {'ok', seq, period, int(NOW), amount, left, holds, m.epoch, base, left, holds}
