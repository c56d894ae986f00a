-- manual.lua: sets or lifts a manual suspension.
-- KEYS 1 {pNN}:meta
-- ARGV 1 epoch  2 account  3 bit (16 operator, 32 parent)  4 "1" set, "0" lift
--      5 actor  6 note  7.. the parent's three months (name, start, end)
-- RETURN {"ok", own flags, own counter, parent's counter, at} | {"accounts", id} | {"clock"} | guard's refusals
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local a = account(ARGV[2])
if not a then return {'accounts', ARGV[2]} end
local period, finish = current(7)
if not period then return {'clock'} end
local f, b = bit.band(tonumber(a.f), MANUAL), tonumber(ARGV[3])
if ARGV[4] == '1' then f = bit.bor(f, b) else f = bit.band(f, bit.bnot(b)) end
a.manual = f
if f ~= bit.band(tonumber(a.f), MANUAL) then set(a, 'quiet', '0') end
local flags = evaluate(a, period, finish, 'manual', a.f ~= '0' and a.quiet == '1', ARGV[5], ARGV[6])
return {'ok', flags, a.n, a.par == '' and '0' or account(a.par).n, int(NOW)}
