-- charge.lua: charges one batch of a task, what of it is of this partition, once (docs/protocol.md, The states of a task).
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
--      18 outcome if no record is a duplicate: "n" those of 12; of the lines that
--         aren't charged "q" refused, "w" waiting, "c" a later copy of a line before it, "s" already so, "." none
--      19 per group: account, parent, purse's account (0: none), period (from 1), each u32,
--         sum double (0 where 20 names it) of amounts that go one way; little endian
--      20 sums beyond 2^53: "group=sum,…", groups from 1  21 periods
--      22 per parent: account, months (from 1), each u32, little endian  23 sets of months
--      24 seq up to which the ledger told what messages stand at that records of 12 change
--      25 per record: hash of the message that it changes (a refund's, a correction's) as a
--         signed decimal, ","-joined; "" if none does
--      26 Redis time before the ledger was asked for 24, ms
--      then accounts: id; sets of three months (name, start, end); periods: name;
--      runs: bucket, count, hashes as signed decimals
-- RETURN {"ok", seq, outcome, booked, now}         charged now; outcome per line:
--          "n" new, "d" duplicate, else as in 18; booked per group, ","-joined
--        {"open", seq, outcome, booked, rated}     the answer that it holds
--        {"mark", seq, outcome}  settled before    {"done"}  finished before
--        {"cold", now, seq, record, …}             to look up once all up to seq have settled; nothing changed
--        {"accounts", id, …}                       to push; nothing changed
--        {"catalog", number} {"overflow", group, …} {"clock"} {"stale"} {"full"}
--        {"judge_again", seq}  a forced charge must judge by this seq, at which all were in their sets
--        {"restart"}      a forced charge must start over
--        {"changed"}      another has changed one of the messages since 24, or may have: read the ledger anew
--        {"empty"} {"replid", id} {"epoch", n}     see guard
local m, refusal = guard(ARGV[1])
if not m then return refusal end
local mode, S = ARGV[4], tonumber(ARGV[5])
local t = redis.call('HMGET', KEYS[2], 'k', 's', 'o', 'g', 'r')
if t[1] == 'o' then
  redis.call('HSET', KEYS[2], 'at', int(NOW)) -- whoever asks may send its rows from now on: see giveup.lua
  return {'open', t[2], t[3], t[4], t[5]}
end
if t[1] == 'm' then return {'mark', t[2], t[3]} end
if done(ARGV[3]) then return {'done'} end
if tonumber(ARGV[2]) < tonumber(m.catalog) then return {'catalog', m.catalog} end
if tonumber(m.openn) > OPEN_MAX then return {'full'} end
if mode == 'found' and NOW - tonumber(ARGV[6]) > LOOKED_MAX then return {'stale'} end

-- accounts and parents. Those that are far from all that may happen to them are
-- read in part
local nacc, npar, ngrp, nrun, nline = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local ids, at = 26, 26 + nacc
local acc, par, grp, clock = {}, {}, {}, false
local most = 0 -- of what any of them holds
local function get(i, now, p)
  local a = acc[i]
  if not a and i ~= 0 then
    a = glance(ARGV[ids + i], now, p)
    acc[i] = a
    if a then most = math.max(most, math.abs(tonumber(a.used)), math.abs(tonumber(a.bal))) end
  end
  return a
end
local months = {}
for i = 1, tonumber(ARGV[23]) do
  local name, finish = current(at + 1)
  months[i] = {now = name, finish = finish}
  clock = clock or not name
  at = at + 9
end
for i = 1, npar do
  local a, m = struct.unpack('<I4I4', ARGV[22], i * 8 - 7)
  m = months[m]
  par[i] = {a = get(a, m.now or '', nil), now = m.now, finish = m.finish}
end
-- listed: what a double doesn't hold, by its place
local function listed(text)
  local out = {}
  for i, v in string.gmatch(text, '(%d+)=(-?%d+)') do out[tonumber(i)] = v end
  return out
end
local large = listed(ARGV[20])
for i = 1, ngrp do
  local a, p, purse, period, sum = struct.unpack('<I4I4I4I4d', ARGV[19], i * 24 - 23)
  p, sum = par[p], large[i] or sum
  local now = p.now or ''
  grp[i] = {a = get(a, now, p.a), p = p, purse = get(purse, now, p.a), period = ARGV[at + period], sum = sum}
end
at = at + tonumber(ARGV[21])
local missing = {'accounts'}
for i = 1, nacc do
  if not acc[i] then missing[#missing + 1] = ARGV[ids + i] end
end
if #missing > 1 then return missing end
if clock then return {'clock'} end
local others = false -- whether a month but the current one is charged
for _, g in ipairs(grp) do
  local p = g.p
  local thr = p.a.thr
  if thr ~= '' and g.period <= thr then g.period = p.now end
  if g.period ~= p.now then others = true end
end

-- dedup: by arrival generation, this one and the one before. Each charge puts its
-- identities into this one's. genseq is the first seq of a generation: who judged
-- before it can't know what has left
local gen, edge, upTo = horizon(m, ARGV[17])
local runs, dup, ndup, total = at, {}, 0, 0
local now, before = TAG .. ':d:' .. int(gen) .. ':', TAG .. ':d:' .. int(gen - 1) .. ':'
for _ = 1, nrun do
  local bucket, n = ARGV[at + 1], tonumber(ARGV[at + 2])
  local a = redis.call('SMISMEMBER', now .. bucket, unpack(ARGV, at + 3, at + 2 + n))
  local b = redis.call('SMISMEMBER', before .. bucket, unpack(ARGV, at + 3, at + 2 + n))
  for i = 1, n do
    if a[i] == 1 or b[i] == 1 then
      dup[total + i] = true
      ndup = ndup + 1
    end
  end
  total = total + n
  at = at + 2 + n
end
local found, held = 0, ndup
if mode == 'force' then
  if ndup < total then return {'restart'} end
  if tonumber(m.forced) > S or tonumber(m.genseq) > S then return {'judge_again', m.seq} end
  dup, ndup = {}, 0
else
  if tonumber(ARGV[16]) < edge then
    local cold = {'cold', int(NOW), upTo}
    for i = 1, total do
      if not dup[i] and struct.unpack('<d', ARGV[12], (i - 1) * 24 + 17) < edge then
        local c = mode == 'found' and string.sub(ARGV[14], i, i) or '-'
        if c == '-' then cold[#cold + 1] = i
        elseif c == '1' then dup[i], found = true, found + 1 end
      end
    end
    if #cold > 3 then return cold end
  end
  ndup = ndup + found
end

-- messages that new records change: whoever changed one after its standing was
-- read has made it another. That is kept for two spans of CHANGES_MAX, by the span, so what was
-- read more than one ago, by a clock that may have been set since, is read anew; one that
-- was set back finds what it wrote as of the span after
local changes, hour = {}, math.floor(NOW / CHANGES_MAX)
local function changed(n) return TAG .. ':ch:' .. ARGV[1] .. ':' .. int(hour - n) end
if ARGV[25] ~= '' then
  local i = 0
  for hash in string.gmatch(ARGV[25], '-?%d+') do
    i = i + 1
    if not dup[i] then changes[#changes + 1] = hash end
  end
  if #changes > 0 and math.abs(NOW - tonumber(ARGV[26])) > CHANGES_MAX then return {'changed'} end
  for i = 1, #changes, 4000 do
    for n = -1, 1 do
      for _, seq in ipairs(redis.call('HMGET', changed(n), unpack(changes, i, math.min(i + 3999, #changes)))) do
        if seq and tonumber(seq) > tonumber(ARGV[24]) then return {'changed'} end
      end
    end
  end
end

-- minus: a - b, exactly: a number where a double holds it, else a string, worked out
-- in units of 10^9 and what is below, which doubles hold.
local UNIT = 1e9
local function parts(v)
  local s, sign = type(v) == 'number' and int(v) or v, 1
  if string.sub(s, 1, 1) == '-' then s, sign = string.sub(s, 2), -1 end
  return sign * (tonumber(string.sub(s, 1, -10)) or 0), sign * tonumber(string.sub(s, -9))
end
local function minus(a, b)
  if type(a) == 'number' and type(b) == 'number' and math.abs(a - b) < EXACT then return a - b end
  local high, low = parts(a)
  local h, l = parts(b)
  high, low = high - h, low - l
  high, low = high + math.floor(low / UNIT), low % UNIT
  if high < 0 and low > 0 then high, low = high + 1, low - UNIT end -- of one sign
  if math.abs(high) < EXACT / UNIT - 1 then return high * UNIT + low end
  return string.format('%d%09d', high, math.abs(low))
end

-- what each group adds: its sum less its duplicates
local big = listed(ARGV[15])
local outcome, every = ARGV[18], 0
if ndup > 0 then
  local line = {}
  for i = 1, nline do line[i] = string.sub(outcome, i, i) end
  for i = 1, total do
    local pos, g = struct.unpack('<I4I4', ARGV[12], (i - 1) * 24 + 1)
    local gr = grp[g + 1]
    if dup[i] then
      line[pos + 1] = 'd'
      gr.sum = minus(gr.sum, big[i] or (struct.unpack('<d', ARGV[12], (i - 1) * 24 + 9)))
    else
      gr.some = true
    end
  end
  outcome = table.concat(line)
end
for _, g in ipairs(grp) do
  g.some = g.some or ndup == 0
  if g.some then every = every + math.abs(tonumber(g.sum)) end
end
-- No field may leave the range on the way, or HINCRBY refuses halfway. Groups come
-- in any order, so those that add are summed up by themselves, and those that take
-- away: a field near the one end takes every change towards the other. A group that
-- is refused counts for none after it. Doubles up to 2^64 round by no more than 2^10
-- at each step, and RANGE lies 2^54 below 2^63: there is room for 2^44 of them
local over = {'overflow'}
local function beyond(a, field, n)
  local held, way = tonumber(field == 'bal' and a.bal or usage(a, field)), n < 0 and -1 or 1
  local sofar = a.reach and a.reach[way .. field] or 0
  return (held + sofar + n) * way > RANGE
end
local function reach(a, field, n)
  local key = (n < 0 and -1 or 1) .. field
  if not a.reach then a.reach = {} end
  a.reach[key] = (a.reach[key] or 0) + n
end
if others or most + every > RANGE then
  for i, g in ipairs(grp) do
    local n = tonumber(g.sum)
    if g.some and n ~= 0 then
      local changes = {{g.a, g.period, n}}
      if g.a ~= g.p.a then changes[2] = {g.p.a, g.period, n} end
      if g.purse then changes[#changes + 1] = {g.purse, 'bal', -n} end
      local o = false
      for _, c in ipairs(changes) do o = o or beyond(unpack(c)) end
      if o then over[#over + 1] = i else
        for _, c in ipairs(changes) do reach(unpack(c)) end
      end
    end
  end
end
if #over > 1 then return over end

-- all checks passed: change everything
if gen ~= tonumber(m.gen) then redis.call('HSET', KEYS[1], 'gen', int(gen), 'genseq', int(tonumber(m.seq) + 1)) end
if mode == 'force' or held < total then
  at = runs
  for _ = 1, nrun do
    local n = tonumber(ARGV[at + 2])
    redis.call('SADD', now .. ARGV[at + 1], unpack(ARGV, at + 3, at + 2 + n))
    at = at + 2 + n
  end
end
-- what groups add to a parent or a purse is booked at once, while a double holds it
local moved, fields = {}, {}
local function move(a, field, sum)
  local n = tonumber(sum)
  if not a.moves then a.moves = {} end
  local sofar = a.moves[field] or 0
  if math.abs(n) >= EXACT or math.abs(sofar + n) >= EXACT then return book(a, field, sum) end
  if not a.moves[field] then moved[#moved + 1], fields[#fields + 1] = a, field end
  a.moves[field] = sofar + n
end
local function add(g, sum)
  if sum == 0 or sum == '0' then return end
  if g.a == g.p.a then move(g.a, g.period, sum) else
    book(g.a, g.period, sum)
    move(g.p.a, g.period, sum)
  end
  if g.purse then move(g.purse, 'bal', neg(sum)) end
end
local booked = {}
for i, g in ipairs(grp) do
  booked[i] = g.period
  if g.some then add(g, g.sum) end
end
for i, a in ipairs(moved) do book(a, fields[i], a.moves[fields[i]]) end
-- whom this leaves no longer calm, with the months of the parent
local touched = {}
for _, g in ipairs(grp) do
  if g.some then
    local a, p, purse = g.a, g.p, g.purse
    if not still(a) then touched[a] = p end
    if not still(p.a) then touched[p.a] = p end
    if purse and not still(purse) then touched[purse] = p end
  end
end
local seq = take(m, ARGV[3])
booked = table.concat(booked, ',')
redis.call('HSET', KEYS[2], 'k', 'o', 's', seq, 'o', outcome, 'g', booked, 'r', ARGV[13], 'c', total - ndup, 'at', int(NOW))
redis.call('HINCRBY', KEYS[1], 'openn', total - ndup)
if mode == 'force' then redis.call('HSET', KEYS[1], 'forced', seq) end
for _, hash in ipairs(changes) do redis.call('HSET', changed(0), hash, seq) end
if #changes > 0 then redis.call('EXPIRE', changed(0), 2 * CHANGES_MAX / 1000) end
if next(touched) then
  for _, a in ipairs(acc) do
    local p = touched[a]
    if p then evaluate(account(a.id, p.now), p.now, p.finish, 'usage') end
  end
end
return {'ok', seq, outcome, booked, int(NOW)}
