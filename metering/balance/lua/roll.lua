-- roll.lua: a month began for a parent: its accounts' flags are judged anew.
-- KEYS 1 {pNN}:meta
-- ARGV 1 epoch  2..10 the parent's three months (name, start, end)  11.. accounts
-- RETURN {"ok", current period} | {"clock"} | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local period, finish = current(2)
if not period then return {'clock'} end
for i = 11, #ARGV do
  local a = account(ARGV[i])
  if a and a.fp ~= period then evaluate(a, period, finish, 'period', a.quiet == '1') end
end
return {'ok', period}
