-- charge.lua: charges one slice of a task, once (ARCHITECTURE.md, step 3).
-- KEYS 1 {pNN}:meta  2 {pNN}:t:<task>
-- ARGV 1 projection epoch  2 caller's catalog number  3 task
--      4 mode: "" | "found" (14 holds lookups) | "force" (5 holds S)
--      5 S, -1 to ask for it  6 Redis time before the lookups, ms
--      7 accounts  8 parents  9 groups  10 bucket runs  11 lines of the task
--      12 per record, in the order of the runs: line u32, group u32,
--         amount double (0 where 15 names it), occurred_at double ms; little endian
--      13 the caller's rated columns, kept with the answer
--      14 per record: "1" found, "0" not found, "-" not looked up
--      15 amounts beyond 2^53: "record=amount,…", records from 1
--      16 oldest occurred_at, ms  17 seconds that a dedup generation lasts
--      18 outcome of the lines that aren't charged ("q" refused, "w" waiting, "c" a
--         later copy of a line before it, "." none), "" where all are "."
--      then accounts: id; parents: account (from 1) and three months (name, start, end);
--      groups: account, parent, purse's account (0: none), period, sum;
--      runs: bucket, count, hashes as signed decimals
-- RETURN {"ok", seq, outcome, booked, now}         charged now; outcome per line:
--          "n" new, "d" duplicate, else as in 18; booked per group, ","-joined
--        {"open", seq, outcome, booked, rated}     the answer that it holds
--        {"mark", seq, outcome}  settled before    {"done"}  finished before
--        {"cold", now, record, …}                  to look up; nothing changed
--        {"accounts", id, …}                       to push; nothing changed
--        {"catalog", number} {"overflow", group, …} {"clock"} {"stale"} {"full"}
--        {"again!", seq}  a forced charge must judge by this seq, at which all were in their sets
--        {"restart"}      a forced charge must start over
--        {"empty"} {"replid", id} {"epoch", n}     see guard
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local mode, S = ARGV[4], tonumber(ARGV[5])
local t = redis.call('HMGET', KEYS[2], 'k', 's', 'o', 'g', 'r')
if t[1] == 'o' then return {'open', t[2], t[3], t[4], t[5]} end
if t[1] == 'd' then return {'done'} end
if t[1] == 'm' then return {'mark', t[2], t[3]} end
if tonumber(ARGV[2]) < tonumber(m.catalog) then return {'catalog', m.catalog} end
if tonumber(m.openn) > 5000000 then return {'full'} end
if mode == 'found' and NOW - tonumber(ARGV[6]) > 60000 then return {'stale'} end

-- accounts and parents
local nacc, npar, ngrp, nrun, nline = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local at = 18
local acc, missing = {}, {'accounts'}
for i = 1, nacc do
  acc[i] = account(ARGV[at + i])
  if not acc[i] then missing[#missing + 1] = ARGV[at + i] end
end
if #missing > 1 then return missing end
at = at + nacc
local par = {}
for i = 1, npar do
  local name, finish = current(at + 2)
  if not name then return {'clock'} end
  par[i] = {a = acc[tonumber(ARGV[at + 1])], now = name, finish = finish}
  at = at + 10
end
local grp = {}
for i = 1, ngrp do
  local p = par[tonumber(ARGV[at + 2])]
  local period = ARGV[at + 4]
  if p.a.thr ~= '' and period <= p.a.thr then period = p.now end
  grp[i] = {a = acc[tonumber(ARGV[at + 1])], p = p, purse = acc[tonumber(ARGV[at + 3])], period = period, sum = ARGV[at + 5]}
  at = at + 5
end

-- dedup: by arrival generation, this one and the one before. genseq is the
-- first seq of a generation: who judged before it can't know what has left
local gen = math.max(math.floor(NOW / 1000 / tonumber(ARGV[17])), tonumber(m.gen))
local runs, dup, ndup, total, first = {}, {}, 0, 0, at
for r = 1, nrun do
  local n = tonumber(ARGV[at + 2])
  local run = {from = at + 3, n = n, base = total, key = TAG .. ':d:' .. int(gen) .. ':' .. ARGV[at + 1], dups = 0}
  local before = TAG .. ':d:' .. int(gen - 1) .. ':' .. ARGV[at + 1]
  local a = redis.call('SMISMEMBER', run.key, unpack(ARGV, run.from, run.from + n - 1))
  local b = redis.call('SMISMEMBER', before, unpack(ARGV, run.from, run.from + n - 1))
  for i = 1, n do
    if a[i] == 1 or b[i] == 1 then
      dup[total + i] = true
      ndup = ndup + 1
      run.dups = run.dups + 1
    end
  end
  runs[r] = run
  total = total + n
  at = at + 2 + n
end
local found = 0
if mode == 'force' then
  if ndup < total then return {'restart'} end
  if tonumber(m.forced) > S or tonumber(m.genseq) > S then return {'again!', m.seq} end
  dup, ndup = {}, 0
else
  local edge = math.max(NOW - tonumber(m.window), tonumber(m.floor))
  if tonumber(ARGV[16]) < edge then
    local cold = {'cold', int(NOW)}
    for i = 1, total do
      if not dup[i] and struct.unpack('<d', ARGV[12], (i - 1) * 24 + 17) < edge then
        local c = mode == 'found' and string.sub(ARGV[14], i, i) or '-'
        if c == '-' then cold[#cold + 1] = i
        elseif c == '1' then dup[i], found = true, found + 1 end
      end
    end
    if #cold > 2 then return cold end
  end
  ndup = ndup + found
end

-- what each group adds: its sum less its duplicates
local big = {}
for i, v in string.gmatch(ARGV[15], '(%d+)=(-?%d+)') do big[tonumber(i)] = v end
local line = {}
if ARGV[18] == '' then
  for i = 1, nline do line[i] = '.' end
else
  for i = 1, nline do line[i] = string.sub(ARGV[18], i, i) end
end
for i = 1, total do
  local pos, g = struct.unpack('<I4I4', ARGV[12], (i - 1) * 24 + 1)
  line[pos + 1] = dup[i] and 'd' or 'n'
  local gr = grp[g + 1]
  if dup[i] then
    gr.less = gr.less or {}
    gr.less[#gr.less + 1] = big[i] or int(struct.unpack('<d', ARGV[12], (i - 1) * 24 + 9))
  else
    gr.some = true
  end
end
-- how far a field may go: what it holds and the sums of all its groups, each
-- taken as it comes; HINCRBY must not refuse one halfway
local over, reach = {'overflow'}, {}
local function far(key, have, sum)
  reach[key] = (reach[key] or math.abs(tonumber(have))) + math.abs(sum)
  return reach[key] > RANGE
end
for i, g in ipairs(grp) do
  local sum = tonumber(g.sum)
  local o = far(g.a.id .. ' ' .. g.period, usage(g.a, g.period), sum)
  if g.a ~= g.p.a then o = far(g.p.a.id .. ' ' .. g.period, usage(g.p.a, g.period), sum) or o end
  if g.purse then o = far(g.purse.id, g.purse.bal, sum) or o end
  if o then over[#over + 1] = i end
end
if #over > 1 then return over end

-- all checks passed: change everything
if gen ~= tonumber(m.gen) then redis.call('HSET', KEYS[1], 'gen', int(gen), 'genseq', int(tonumber(m.seq) + 1)) end
for _, run in ipairs(runs) do
  if mode ~= 'force' and run.dups < run.n then redis.call('SADD', run.key, unpack(ARGV, run.from, run.from + run.n - 1)) end
end
local function add(g, sum)
  incr(akey(g.a.id), 'u:' .. g.period, sum)
  if g.a ~= g.p.a then incr(akey(g.p.a.id), 'u:' .. g.period, sum) end
  if g.purse then g.purse.bal = incr(akey(g.purse.id), 'bal', neg(sum)) end
end
local booked, touched = {}, {}
for i, g in ipairs(grp) do
  booked[i] = g.period
  if g.some then
    if g.sum ~= '0' then add(g, g.sum) end
    for _, v in ipairs(g.less or {}) do
      if v ~= '0' then add(g, neg(v)) end
    end
    touched[g.a], touched[g.p.a] = g.p, g.p
    if g.purse then touched[g.purse] = g.p end
  end
end
local seq = take(m, ARGV[3])
local outcome = table.concat(line)
booked = table.concat(booked, ',')
redis.call('HSET', KEYS[2], 'k', 'o', 's', seq, 'o', outcome, 'g', booked, 'r', ARGV[13], 'c', total - ndup, 'at', int(NOW))
redis.call('HINCRBY', KEYS[1], 'openn', total - ndup)
if mode == 'force' then redis.call('HSET', KEYS[1], 'forced', seq) end
for _, a in ipairs(acc) do
  local p = touched[a]
  if p then evaluate(a, p.now, p.finish, 'usage') end
end
return {'ok', seq, outcome, booked, int(NOW)}
