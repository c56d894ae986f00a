-- lib.lua: what every script of a partition shares; put in front of each. In front of it
-- stand metering's bounds: OPEN_MAX, LOOKED_MAX and CHANGES_MAX (store.go).
-- KEYS 1  {pNN}:meta. Every other key of the partition carries the same hash
--         tag, so it lives in the same slot; names as in keys.go.
-- Amounts are integers of micro-units as decimal strings: added by HINCRBY
-- (64 bits), compared as strings; a double only where it stays below 2^53.
local TAG = string.sub(KEYS[1], 1, -6)
local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)
local EXACT = 9007199254740992
local RANGE = 9.2e18

local BUDGET, WALLET, CEILING, MONTHLY, MANUAL = 1, 2, 4, 8, 48
local AUTOMATIC = 15

local function akey(id) return TAG .. ':a:' .. id end
-- int: an integer below 2^53 as text, which Redis would write as 1e+12
local function int(x) return string.format('%d', x) end

-- Finished tasks are kept until the end of the next day, many in a key: a key of
-- its own would cost each some 300 bytes. A field is 96 bits of the task's name.
local DAY = 86400
local DONE_KEYS = 16384
local function doneAt(task)
  local sum = redis.sha1hex(task)
  return ':' .. int(tonumber(string.sub(sum, 1, 4), 16) % DONE_KEYS), string.sub(sum, 5, 28)
end
local function doneKey(day, at) return TAG .. ':done:' .. int(day) .. at end

-- done: nil, or how a task finished: "d", "h" if its duplicates went to its judge
-- task. The clock may have been set back over midnight since.
local function done(task)
  local today = math.floor(NOW / 1000 / DAY)
  local at, field = doneAt(task)
  for day = today - 1, today + 1 do
    local how = redis.call('HGET', doneKey(day, at), field)
    if how then return how end
  end
  return nil
end

-- finished notes that a task is done.
local function finished(task, how)
  local today = math.floor(NOW / 1000 / DAY)
  local at, field = doneAt(task)
  local key = doneKey(today, at)
  redis.call('HSET', key, field, how)
  redis.call('EXPIREAT', key, (today + 2) * DAY)
end

local META = {'epoch', 'seq', 'catalog', 'floor', 'replid', 'gen', 'genseq', 'forced', 'window', 'openn', 'corr', 'brk', 'brkmax'}
local M -- the partition's meta, once guard has read it

-- guard: the partition's meta, or nil and the refusal that the script returns.
-- epoch: the caller's, nil where any will do.
local function guard(epoch)
  local v = redis.call('HMGET', KEYS[1], unpack(META))
  if not v[1] then return nil, {'empty'} end
  local m = {}
  for i, n in ipairs(META) do m[n] = v[i] end
  local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  if m.replid == '' then return nil, {'void'} end -- see push.lua
  if id ~= m.replid then return nil, {'replid', id} end
  if epoch and m.epoch ~= epoch then return nil, {'epoch', m.epoch} end
  M = m
  return m
end

-- horizon of dedup: the generation by now; what occurred before edge, ms, may have left the
-- sets; what was charged after seq upTo stands in them, and in the generation after this
-- one too.
local function horizon(m, seconds)
  local gen = math.max(math.floor(NOW / 1000 / tonumber(seconds)), tonumber(m.gen))
  local edge = math.max(NOW - tonumber(m.window), tonumber(m.floor))
  return gen, edge, gen == tonumber(m.gen) and int(tonumber(m.genseq) - 1) or m.seq
end

-- ge: a >= b, both integers as strings.
local function ge(a, b)
  local na, nb = string.sub(a, 1, 1) == '-', string.sub(b, 1, 1) == '-'
  if na ~= nb then return nb end
  if na then a, b = string.sub(b, 2), string.sub(a, 2) end
  if #a ~= #b then return #a > #b end
  return a >= b
end

-- incr adds to a field and returns the new value as an exact string.
local function incr(key, field, delta)
  local n = redis.call('HINCRBY', key, field, delta)
  if n > -EXACT and n < EXACT then return int(n) end
  return redis.call('HGET', key, field)
end

local function neg(s)
  if type(s) == 'number' then return -s end
  if s == '0' then return s end
  if string.sub(s, 1, 1) == '-' then return string.sub(s, 2) end
  return '-' .. s
end

local cache = {}

-- account: its fields (absent ones are ''), nil if the partition doesn't hold it, or its parent.
-- month: whose usage to read along (nil: none), see usage. One constructor: a
-- table that grows field by field costs more than all else here.
local function account(id, month)
  local a = cache[id]
  if a then return a end
  local key = akey(id)
  local v = redis.call('HMGET', key, 'par', 'mode', 'src', 'lim', 'ceil', 'bal', 'f', 'h', 'obs', 'n', 'fp', 'quiet', 'thr', 'alerts',
    'base', 'as', 'ac', 'am', 'tn', 'cat', 'fe', 'calm', month and 'u:' .. month or 'fe')
  if not v[1] then return nil end
  if v[1] ~= '' and not cache[v[1]] and redis.call('EXISTS', akey(v[1])) == 0 then return nil end
  a = {
    id = id, key = key, par = v[1], mode = v[2] or '', src = v[3] or '', lim = v[4] or '', ceil = v[5] or '', bal = v[6] or '0',
    f = v[7] or '0', h = v[8] or '0', obs = v[9] or '', n = v[10] or '0', fp = v[11] or '', quiet = v[12] or '', thr = v[13] or '',
    alerts = v[14] or '', base = v[15] or '', as = v[16] or '', ac = v[17] or '', am = v[18] or '', tn = v[19] or '', cat = v[20] or '',
    fe = v[21] or '', near = not v[22] or v[22] == '', month = month, used = month and (v[23] or '0'),
  }
  cache[id] = a
  return a
end

-- mark: what calm holds under: the parent's shares and the month.
local function mark(p, month)
  p.mark = p.mark or p.alerts .. '|' .. month
  return p.mark
end

-- glance: an account as far as a charge needs it that is calm (see there) in a
-- month; else all of it. p: its parent, nil where it is one itself. A calm
-- sub-account has eight fields: a ninth would double its table.
local function glance(id, month, p)
  if cache[id] then return cache[id] end
  local key, used = akey(id), 'u:' .. month
  local v = p and redis.call('HMGET', key, 'calm', used, 'bal') or redis.call('HMGET', key, 'calm', used, 'bal', 'alerts', 'thr')
  local a = not p and {alerts = v[4] or '', thr = v[5] or ''}
  if not v[1] or string.sub(v[1], 17) ~= mark(p or a, month) then return account(id, month) end
  local below, above = struct.unpack('<dd', v[1])
  local bal = tonumber(v[3] or 0)
  used = tonumber(v[2] or 0)
  if p then return {id = id, key = key, bal = bal, used = used, month = month, calm = true, below = below, above = above} end
  a.id, a.key, a.bal, a.used, a.month, a.calm, a.below, a.above = id, key, bal, used, month, true, below, above
  return a
end

-- still tells whether a charge leaves an account calm.
local function still(a)
  return a.calm and a.used < a.below and a.bal > a.above
end

local function set(a, field, value)
  if a[field] ~= value then
    a[field] = value
    redis.call('HSET', a.key, field, value)
  end
end

-- usage of a month, as it is now: used of the month that was read along, others
-- are asked for.
local function usage(a, period)
  if period == a.month then return a.used end
  if not a.others then a.others = {} end
  local u = a.others[period]
  if not u then
    u = redis.call('HGET', a.key, 'u:' .. period) or '0'
    a.others[period] = u
  end
  return u
end

-- book adds to an account's balance ('bal') or to its usage of a month: an exact
-- string, or a number that a double holds. What it then holds is only about
-- right, a number, where the account is calm.
local function book(a, field, delta)
  local name = field == 'bal' and 'bal' or 'u:' .. field
  if type(delta) == 'number' then delta = int(delta) end
  local n = a.calm and redis.call('HINCRBY', a.key, name, delta) or incr(a.key, name, delta)
  if field == 'bal' then a.bal = n
  elseif field == a.month then a.used = n
  elseif a.others then a.others[field] = n end
end

-- fact: who relays it may have seen another epoch since, so it names its own.
local function fact(kind, a, ...)
  redis.call('XADD', TAG .. ':outbox', '*', 'k', kind, 'e', M.epoch, 'id', a.id, 'par', a.par, 'at', int(NOW), ...)
end

-- told: the highest share that was told of under a mark.
local function told(a, field, mark)
  local share = string.match(a[field], '^' .. string.gsub(mark, '%-', '%%-') .. ':(%d+)$')
  return share and tonumber(share) or 0
end

-- shares: emits one alert for each of the parent's shares that was passed,
-- in order, once for each mark (a period, or a transfer's number).
local function shares(a, alerts, kind, field, mark, used, whole, period)
  if alerts == '' or whole <= 0 then return end
  local from = told(a, field, mark)
  local top = from
  for s in string.gmatch(alerts, '%d+') do
    local share = tonumber(s)
    if share > from and used * 100 >= whole * share then
      fact('alert', a, 'limit', kind, 'share', s, 'mark', mark, 'per', period)
      top = share
    end
  end
  if top > from then set(a, field, mark .. ':' .. int(top)) end
end

-- alert looks at each limit of the account.
local function alert(a, p, used, period)
  if a.par == '' and a.mode == 'prepaid' or a.src == 'allocated' then
    if a.base ~= '' then
      shares(a, p.alerts, a.par == '' and 'wallet' or 'budget', 'as', a.tn,
        tonumber(a.base) - tonumber(a.bal), tonumber(a.base), period)
    end
  end
  if a.par == '' and a.ceil ~= '' then
    shares(a, p.alerts, 'credit', 'ac', period, tonumber(used), tonumber(a.ceil), period)
  end
  if a.lim ~= '' then
    shares(a, p.alerts, 'monthly_limit', 'am', period, tonumber(used), tonumber(a.lim), period)
  end
end

-- The accounts that were suspended in the present minute, and those that a limit
-- had suspended as the breaker opened and that were lifted since.
local function suspendedKey() return TAG .. ':brk:' .. int(math.floor(NOW / 60000)) end
local LIFTED = TAG .. ':lifted'

-- breaks counts an account that is about to be suspended, once a minute however
-- often it is, and tells whether the breaker holds that back: more than brkmax
-- accounts of a partition within a minute. So none but brkmax are kept.
local function breaks(a)
  local most = tonumber(M.brkmax or '0')
  if most <= 0 then return false end
  local key = suspendedKey()
  if redis.call('SISMEMBER', key, a.id) == 1 then return false end
  if redis.call('SCARD', key) < most then
    redis.call('SADD', key, a.id)
    redis.call('EXPIRE', key, 120)
    return false
  end
  M.brk = int(NOW)
  redis.call('HSET', KEYS[1], 'brk', M.brk)
  fact('breaker', a, 'most', int(most))
  return true
end

-- effect: which of the flags that hold take effect, and which are held back: all
-- automatic ones where the parent only observes, and while the breaker is open
-- those of accounts that no limit had suspended when it opened.
-- f: flags that hold; was: flags in effect.
local function effect(a, p, f, was, cause, born)
  local auto = bit.band(f, AUTOMATIC)
  local held = p.obs == '1'
  if not held and auto ~= 0 and bit.band(was, AUTOMATIC) == 0 and not born and cause ~= 'released' then
    if (M.brk or '') ~= '' then
      held = redis.call('HEXISTS', LIFTED, a.id) == 0
    else
      -- Who was suspended before a rebuild is so after it: by the ledger's states, or
      -- by its sums, as long as no charge has added to them.
      local before = a.quiet == '3' or a.quiet == '2' and cause ~= 'usage'
      held = not before and breaks(a)
    end
  end
  if held then return bit.band(f, MANUAL), auto end
  return f, 0
end

-- lifted notes whom a limit had suspended when the breaker opened, for effect: its
-- limits go on to bite. Not one that was suspended from birth, untold: a new account
-- is one of those that the breaker is for.
local function lifted(a, was, f, held)
  if (M.brk or '') == '' or held ~= 0 or a.quiet == '1' then return end
  if bit.band(was, AUTOMATIC) ~= 0 and bit.band(f, AUTOMATIC) == 0 then redis.call('HSET', LIFTED, a.id, '1') end
end

-- calm: how far an active account is from whatever may happen to it next, a
-- state or an alert, so that charges which stay this side of it needn't ask: two
-- doubles, usage of the month below the one, balance above the other, and the
-- mark under which they hold. A little less than exact, for doubles round.
-- Everything else that it depends on ends in evaluate. Workers of two versions
-- share it: who changes what it means renames it.
local NEAR = 1 - 2 ^ -40
local function calm(a, p, period)
  local below, above = math.huge, -math.huge
  local function share(field, under, whole)
    local from, least = told(a, field, under), nil
    for s in string.gmatch(p.alerts, '%d+') do
      s = tonumber(s)
      if s > from and (not least or s < least) then least = s end
    end
    return least and whole > 0 and whole * least / 100 or math.huge
  end
  local function limit(field, whole)
    below = math.min(below, whole, share(field, period, whole))
  end
  if a.par == '' and a.mode == 'prepaid' or a.src == 'allocated' then
    above = 0
    if a.base ~= '' then
      local base = tonumber(a.base)
      above = math.max(0, base - share('as', a.tn, base) * NEAR)
    end
  end
  if a.par == '' and a.ceil ~= '' then limit('ac', tonumber(a.ceil)) end
  if a.lim ~= '' then limit('am', tonumber(a.lim)) end
  redis.call('HSET', a.key, 'calm', struct.pack('<dd', below * NEAR - 1, above + 1) .. mark(p, period))
  a.near = false
end

-- judged: after a judgement. Where the account isn't active each charge judges
-- it; near: that is so already.
local function judged(a, p, period, f, held)
  if f == 0 and held == 0 then return calm(a, p, period) end
  if not a.near then redis.call('HSET', a.key, 'calm', '') end
  a.near = true
end

-- evaluate is the one state function: every script that moves a balance or a
-- limit ends in it, for each account that it touched. It sets the own flags (f),
-- and those that hold without effect (h),
-- raises the account's counter, writes the fact and publishes.
-- period, finish: the parent's current month. born: new, or quiet since: no fact
-- while an empty wallet or budget is all (it is suspended from birth, silently: docs/domain.md,
-- Funding); a limit, and the end of any suspension, are told.
-- note, actor: kept with the fact.
local function evaluate(a, period, finish, cause, born, actor, note)
  local p = a
  if a.par ~= '' then p = account(a.par) end
  local was = tonumber(a.f)
  local f = bit.band(was, MANUAL)
  if a.manual then f = a.manual end
  local used = usage(a, period)
  local broke = a.bal == '0' or string.sub(a.bal, 1, 1) == '-'
  if a.par == '' then
    if a.mode == 'prepaid' then
      if broke then f = bit.bor(f, WALLET) end
    elseif a.ceil ~= '' and ge(used, a.ceil) then
      f = bit.bor(f, CEILING)
    end
  else
    if a.src == 'allocated' and broke then f = bit.bor(f, BUDGET) end
    if a.lim ~= '' and ge(used, a.lim) then f = bit.bor(f, MONTHLY) end
  end
  if not born then alert(a, p, used, period) end
  local silent = born and bit.band(f, bit.bnot(BUDGET + WALLET)) == 0
  local held
  f, held = effect(a, p, f, was, cause, born)
  silent = silent and (was == 0 or f == was) -- a state that was seen before changes aloud
  lifted(a, was, f, held)
  local changed = f ~= was
  local back = int(held) ~= a.h
  if back then set(a, 'h', int(held)) end
  if changed or a.fp ~= period then
    redis.call('HSET', a.key, 'f', f, 'fp', period, 'fe', finish)
    a.f, a.fp, a.fe = int(f), period, finish
  end
  if silent then
    set(a, 'quiet', f ~= 0 and '1' or '0')
    judged(a, p, period, f, held)
    return f
  end
  -- 1: silent so far. After a rebuild, told once more: 2: if it isn't active, 3: whatever it is.
  local spoke = a.quiet == '1' or a.quiet == '2' or a.quiet == '3'
  local unheard = spoke and f ~= 0 or a.quiet == '3'
  if spoke then set(a, 'quiet', '0') end
  if changed or back or unheard then
    a.n = incr(a.key, 'n', 1)
    redis.call('HSET', a.key, 'at', int(NOW))
    -- Whether sub-accounts have heard of what a new projection began with isn't known.
    if spoke and f ~= 0 then was = 0 end
    local pn = a.par == '' and '0' or p.n
    fact('state', a, 'f', f, 'h', held, 'was', was, 'only', (back and not changed and not unheard) and 'held' or '', 'n', a.n, 'pn', pn, 'per', period,
      'cause', cause, 'actor', actor or '', 'note', note or '')
    -- published.go reads it
    redis.call('SPUBLISH', TAG .. ':state', a.id .. '\n' .. table.concat({M.epoch, a.n, pn, int(f), int(held), a.fe ~= '' and a.fe or '0'}, ' '))
  end
  judged(a, p, period, f, held)
  return f
end

-- current: name and end of the month that holds NOW, out of ARGV[i..i+8]:
-- three times name, start, end (ms). nil if none does.
local function current(i)
  for k = i, i + 6, 3 do
    if NOW >= tonumber(ARGV[k + 1]) and NOW < tonumber(ARGV[k + 2]) then return ARGV[k], ARGV[k + 2] end
  end
end

-- take: the next seq, with an answer open under it until it settles.
local function take(m, task)
  local seq = int(tonumber(m.seq) + 1)
  redis.call('HSET', KEYS[1], 'seq', seq)
  redis.call('ZADD', TAG .. ':open', seq, task)
  return seq
end
