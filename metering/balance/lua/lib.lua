-- lib.lua: what every script of a partition shares; put in front of each.
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
local function int(x) return string.format('%.0f', x) end

local META = {'epoch', 'seq', 'catalog', 'floor', 'replid', 'gen', 'genseq', 'forced', 'window', 'openn', 'corr', 'brk', 'brkmax', 'brkmin', 'brkn'}
local M -- the partition's meta, once guard has read it

-- guard: the partition's meta, or nil and the refusal that the script returns.
-- epoch: the caller's, nil where any will do.
local function guard(epoch)
  local v = redis.call('HMGET', KEYS[1], unpack(META))
  if not v[1] then return nil, {'empty'} end
  local m = {}
  for i, n in ipairs(META) do m[n] = v[i] end
  local id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  if id ~= m.replid then return nil, {'replid', id} end
  if epoch and m.epoch ~= epoch then return nil, {'epoch', m.epoch} end
  M = m
  return m
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
  if s == '0' then return s end
  if string.sub(s, 1, 1) == '-' then return string.sub(s, 2) end
  return '-' .. s
end

local FIELDS = {'par', 'mode', 'src', 'lim', 'ceil', 'bal', 'f', 'h', 'obs', 'n', 'fp', 'quiet', 'thr', 'alerts', 'base', 'as', 'ac', 'am', 'tn', 'cat', 'fe'}
local cache = {}

-- account: its fields (absent ones are ''), nil if the partition doesn't hold it.
local function account(id)
  local a = cache[id]
  if a then return a end
  local v = redis.call('HMGET', akey(id), unpack(FIELDS))
  if not v[1] then return nil end
  a = {id = id}
  for i, n in ipairs(FIELDS) do a[n] = v[i] or '' end
  if a.bal == '' then a.bal = '0' end
  if a.f == '' then a.f = '0' end
  if a.h == '' then a.h = '0' end
  if a.n == '' then a.n = '0' end
  cache[id] = a
  return a
end

local function set(a, field, value)
  if a[field] ~= value then
    a[field] = value
    redis.call('HSET', akey(a.id), field, value)
  end
end

local function usage(a, period)
  return redis.call('HGET', akey(a.id), 'u:' .. period) or '0'
end

-- fact: who relays it may have seen another epoch since, so it names its own.
local function fact(kind, a, ...)
  redis.call('XADD', TAG .. ':outbox', '*', 'k', kind, 'e', M.epoch, 'id', a.id, 'par', a.par, 'at', int(NOW), ...)
end

-- shares: emits one alert for each of the parent's shares that was passed,
-- in order, once for each mark (a period, or a transfer's number).
local function shares(a, alerts, kind, field, mark, used, whole, period)
  if alerts == '' or whole <= 0 then return end
  local from = string.match(a[field], '^' .. string.gsub(mark, '%-', '%%-') .. ':(%d+)$')
  from = from and tonumber(from) or 0
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

-- breaks counts an account that is about to be suspended, and tells whether the
-- breaker holds that back: more than brkmax of a partition within a minute.
local function breaks(a)
  local most = tonumber(M.brkmax or '0')
  if most <= 0 then return false end
  local minute = int(math.floor(NOW / 60000))
  local n = (M.brkmin == minute and tonumber(M.brkn) or 0) + 1
  M.brkmin, M.brkn = minute, n
  redis.call('HSET', KEYS[1], 'brkmin', minute, 'brkn', n)
  if n <= most then return false end
  M.brk = int(NOW)
  redis.call('HSET', KEYS[1], 'brk', M.brk)
  fact('breaker', a, 'most', int(most))
  return true
end

-- effect: which of the flags that hold take effect, and which are held back: all
-- automatic ones where the parent only observes, and those of accounts that
-- weren't suspended yet while the breaker is open.
-- f: flags that hold; was: flags in effect.
local function effect(a, p, f, was, cause, born)
  local auto = bit.band(f, AUTOMATIC)
  local held = p.obs == '1'
  if not held and auto ~= 0 and bit.band(was, AUTOMATIC) == 0 and not born and cause ~= 'released' then
    held = (M.brk or '') ~= '' or (a.quiet ~= '2' and breaks(a)) -- 2: known before a rebuild
  end
  if held then return bit.band(f, MANUAL), auto end
  return f, 0
end

-- evaluate is the one state function: every script that moves a balance or a
-- limit ends in it, for each account that it touched. It sets the own flags (f),
-- and those that hold without effect (h),
-- raises the account's counter, writes the fact and publishes.
-- period, finish: the parent's current month. born: no fact (DOMAIN.md: a new
-- wallet is suspended from birth, silently). note, actor: kept with the fact.
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
  local held
  f, held = effect(a, p, f, was, cause, born)
  local changed = f ~= was
  local back = int(held) ~= a.h
  if back then set(a, 'h', int(held)) end
  if changed or a.fp ~= period then
    redis.call('HSET', akey(a.id), 'f', f, 'fp', period, 'fe', finish)
    a.f, a.fp, a.fe = int(f), period, finish
  end
  if born then
    set(a, 'quiet', f ~= 0 and '1' or '0')
    return f
  end
  local spoke = a.quiet == '1' or a.quiet == '2'
  if spoke then set(a, 'quiet', '0') end
  if changed or back or (spoke and f ~= 0) then
    a.n = incr(akey(a.id), 'n', 1)
    fact('state', a, 'f', f, 'h', held, 'was', was, 'only', (back and not changed) and 'held' or '', 'n', a.n, 'pn', a.par == '' and '0' or p.n, 'per', period,
      'cause', cause, 'actor', actor or '', 'note', note or '')
    redis.call('SPUBLISH', TAG .. ':state', a.id)
  end
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
