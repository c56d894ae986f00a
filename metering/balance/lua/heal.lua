-- heal.lua: adds what the ledger holds and the projection doesn't.
-- KEYS 1 {pNN}:meta
-- ARGV 1 epoch  2 correction number of the snapshot  3..11 the parent's three months
--      12.. account, field (bal | u:<period>), delta
-- RETURN {"ok"} | {"moved"} another heal or reversal came between, or an account was lost | {"clock"} | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
if m.corr ~= ARGV[2] then return {'moved'} end
local period, finish = current(3)
if not period then return {'clock'} end
for i = 12, #ARGV, 3 do
  if not account(ARGV[i]) then return {'moved'} end
end
for i = 12, #ARGV, 3 do
  book(account(ARGV[i]), ARGV[i + 1] == 'bal' and 'bal' or string.sub(ARGV[i + 1], 3), ARGV[i + 2])
end
redis.call('HINCRBY', KEYS[1], 'corr', 1)
for i = 12, #ARGV, 3 do evaluate(account(ARGV[i]), period, finish, 'reconcile') end
return {'ok'}
