-- edge.lua: where identities turn cold, for a charge that may have some; nothing changes.
-- KEYS 1 {pNN}:meta  2 {pNN}:t:<task>
-- ARGV 1 projection epoch  2 task  3 seconds that a dedup generation lasts
-- RETURN {"edge", now, seq, edge}  what occurred before edge, ms, and isn't known is looked
--          up once all up to seq have settled, as charge.lua's "cold" says
--        {"held"}  the task has an answer, or is done: charge.lua says what
--        {"empty"} {"replid", id} {"epoch", n}  see guard
local m, refusal = guard(ARGV[1])
if not m then return refusal end
if redis.call('HEXISTS', KEYS[2], 'k') == 1 or done(ARGV[2]) then return {'held'} end
local _, edge, upTo = horizon(m, ARGV[3])
return {'edge', int(NOW), upTo, int(edge)}
